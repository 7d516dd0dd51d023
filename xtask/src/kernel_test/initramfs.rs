//! The file system that a virtual machine begins with: everything it needs, in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use super::{kernels::Unpacked, userland::Userland};
use crate::command;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const PLAIN: u32 = 0o100_644;

/// Files by path.
#[derive(Clone, Debug, Default)]
pub(super) struct Initramfs {
    folders: BTreeSet<String>,
    files: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Initramfs {
    /// Adds a file that can be run.
    pub(super) fn add_script(&mut self, path: &str, text: &str) {
        self.add(path, PROGRAM, text.as_bytes().to_vec());
    }

    /// Adds a file to be read.
    pub(super) fn add_text(&mut self, path: &str, text: &str) {
        self.add(path, PLAIN, text.as_bytes().to_vec());
    }

    /// Adds a program with the libraries that it is linked to.
    pub(super) fn add_program(
        &mut self,
        path: &str,
        program: &Path,
        userland: &Userland,
    ) -> anyhow::Result<()> {
        self.add(path, PROGRAM, read(program)?);
        for (path, library) in userland.libraries(program)? {
            let bytes = read(&library)?;
            self.add(&path, PROGRAM, bytes);
        }
        Ok(())
    }

    /// Adds modules of a kernel and those that they need, named in the order to load them.
    pub(super) fn add_modules(&mut self, kernel: &Unpacked, modules: &[&str]) -> anyhow::Result<()> {
        let mut order: Vec<PathBuf> = Vec::new();
        for module in modules {
            let mut modprobe = Command::new("modprobe");
            modprobe.arg("-d").arg(&kernel.root).args(["-S", &kernel.release, "--show-depends", module]);
            let listed = command::output(&mut modprobe)
                .with_context(|| format!("the kernel {} has no module {module}", kernel.release))?;
            for path in module_paths(&listed) {
                if !order.contains(&path) {
                    order.push(path);
                }
            }
        }
        for (idx, path) in order.iter().enumerate() {
            let file = path.file_name().context("a module has no name")?.to_string_lossy();
            let stem = file.split('.').next().unwrap_or_default();
            let bytes = match path.extension().and_then(|it| it.to_str()) {
                Some("xz") => unpacked("xz", path)?,
                Some("zst") => unpacked("zstd", path)?,
                Some("gz") => unpacked("gzip", path)?,
                _ => read(path)?,
            };
            self.add(&format!("/modules/{idx:03}-{stem}.ko"), PLAIN, bytes);
        }
        Ok(())
    }

    fn add(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        let path = path.trim_start_matches('/');
        for (idx, _) in path.match_indices('/') {
            self.folders.insert(path[..idx].to_owned());
        }
        self.files.insert(path.to_owned(), (mode, bytes));
    }

    /// Returns the archive that a kernel unpacks: cpio in its "new ASCII" form, as
    /// Documentation/driver-api/early-userspace/buffer-format.rst of the kernel describes it. It is not compressed: that
    /// would only cost time inside the machine.
    pub(super) fn archive(&self) -> anyhow::Result<Vec<u8>> {
        let mut archive = Vec::new();
        let folders = self.folders.iter().map(|path| (path, FOLDER, &[][..]));
        let files = self.files.iter().map(|(path, (mode, bytes))| (path, *mode, bytes.as_slice()));
        for (idx, (path, mode, bytes)) in folders.chain(files).enumerate() {
            append(&mut archive, idx + 1, path, mode, bytes)?;
        }
        append(&mut archive, 0, "TRAILER!!!", 0, &[])?;
        Ok(archive)
    }
}

fn append(archive: &mut Vec<u8>, inode: usize, path: &str, mode: u32, bytes: &[u8]) -> anyhow::Result<()> {
    let size = u32::try_from(bytes.len()).with_context(|| format!("{path} is too large"))?;
    let inode = u32::try_from(inode)?;
    let name_size = u32::try_from(path.len() + 1)?;
    // Inode, mode, user, group, links, time, size, device (2), device of a special file (2), size of the name, checksum.
    let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(bytes);
    pad(archive);
    Ok(())
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn unpacked(tool: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(tool).arg("-dc").arg(path).output();
    let output = output.with_context(|| format!("cannot run `{tool}`"))?;
    if !output.status.success() {
        bail!(
            "`{tool}` cannot unpack {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

fn module_paths(listed: &str) -> impl Iterator<Item = PathBuf> {
    let words = listed.lines().filter_map(|line| line.strip_prefix("insmod "));
    words.filter_map(|it| it.split_whitespace().next()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_they_contain() {
        let mut initramfs = Initramfs::default();
        initramfs.add_text("/a/b/file", "12345");
        initramfs.add_script("/init", "#!");
        let archive = initramfs.archive().unwrap();
        let text = String::from_utf8_lossy(&archive);
        let at = |name: &str| text.find(&format!("{name}\0")).unwrap_or_else(|| panic!("no {name}"));
        let names = ["a", "a/b", "a/b/file", "init", "TRAILER!!!"];
        assert!(names.map(at).is_sorted(), "{text}");
        assert_eq!(archive.len() % 4, 0);
    }

    #[test]
    fn an_entry_has_the_form_that_kernels_read() {
        let mut archive = Vec::new();
        append(&mut archive, 7, "f", PLAIN, b"abc").unwrap();
        let zero = "00000000";
        let expected = format!(
            "07070100000007000081a4{zero}{zero}00000001{zero}00000003{zero}{zero}{zero}{zero}00000002{zero}f\0abc\0"
        );
        // 110 bytes of header and two of the name are a multiple of four.
        assert_eq!(String::from_utf8(archive).unwrap(), expected);
    }

    #[test]
    fn what_is_built_into_a_kernel_is_no_module() {
        let listed =
            "builtin ipv6\ninsmod /r/lib/modules/6.1/llc.ko \ninsmod /r/lib/modules/6.1/bridge.ko.xz  a=1\n";
        assert_eq!(
            module_paths(listed).collect::<Vec<_>>(),
            ["/r/lib/modules/6.1/llc.ko", "/r/lib/modules/6.1/bridge.ko.xz"].map(PathBuf::from)
        );
    }
}
