//! Images of containers, made of programs of this machine.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::command::run;

/// An image of nothing but programs, and the libraries that they are linked with.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// What the image is called, with a tag.
    pub name: &'a str,
    /// What each program is called in the root of the image, and where it is. The first one is run.
    pub programs: &'a [(&'a str, &'a Path)],
}

impl Image<'_> {
    /// Writes the image as an archive in the layout of the Open Container Initiative.
    pub(super) fn write(&self, archive: &Path) -> anyhow::Result<()> {
        let folder = tempfile::tempdir().context("cannot make a folder for an image")?;
        let (root, layout) = (folder.path().join("root"), folder.path().join("layout"));
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs).context("cannot make an image")?;
        for (name, program) in self.programs {
            copy(program, &root, name)?;
            for library in libraries(program)? {
                let name = library.strip_prefix("/").unwrap_or(&library).to_owned();
                copy(&library, &root, name)?;
            }
        }
        let layer = folder.path().join("layer.tar");
        pack(&root, &layer)?;
        let (first, _) = self.programs.first().context("an image needs a program")?;
        let layer = Blob::store(&layer, &blobs)?;
        let architecture = match ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let platform = json!({ "architecture": architecture, "os": "linux" });
        let mut config = json!({
            "config": { "Entrypoint": [format!("/{first}")] },
            "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
        });
        config["architecture"] = platform["architecture"].clone();
        config["os"] = platform["os"].clone();
        let config = Blob::of(&config, &blobs)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
        });
        let mut manifest =
            Blob::of(&manifest, &blobs)?.descriptor("application/vnd.oci.image.manifest.v1+json");
        // What a cluster takes a name without a registry for.
        let name = format!("docker.io/library/{}", self.name);
        manifest["platform"] = platform;
        manifest["annotations"] = json!({ "io.containerd.image.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(layout.join("index.json"), index.to_string()).context("cannot make an image")?;
        fs::write(layout.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())
            .context("cannot make an image")?;
        pack(&layout, archive)
    }
}

/// A file of an image that is known by its digest.
struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn of(document: &Value, blobs: &Path) -> anyhow::Result<Self> {
        let path = blobs.join("new");
        fs::write(&path, document.to_string()).context("cannot make an image")?;
        Self::store(&path, blobs)
    }

    fn store(path: &Path, blobs: &Path) -> anyhow::Result<Self> {
        let line = run("sha256sum", &[text(path)?])?;
        let sum = line.split_whitespace().next().context("sha256sum printed nothing")?;
        let size = fs::metadata(path).context("cannot make an image")?.len();
        fs::rename(path, blobs.join(sum)).context("cannot make an image")?;
        Ok(Self { digest: format!("sha256:{sum}"), size })
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.size })
    }
}

/// Returns the libraries that a program is linked with, and what loads them. What is linked statically has none.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let Ok(listing) = run("ldd", &[text(program)?]) else { return Ok(Vec::new()) };
    ensure!(!listing.contains("not found"), "{} lacks libraries: {listing}", program.display());
    let paths = listing.split_whitespace().filter(|it| it.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

fn copy(file: &Path, root: &Path, to: impl AsRef<Path>) -> anyhow::Result<()> {
    let to = root.join(to);
    let folder = to.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(file, &to).map(drop).with_context(|| format!("cannot copy {}", file.display()))
}

fn pack(folder: &Path, archive: &Path) -> anyhow::Result<()> {
    run("tar", &["-C", text(folder)?, "--owner=0", "--group=0", "-cf", text(archive)?, "."]).map(drop)
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}
