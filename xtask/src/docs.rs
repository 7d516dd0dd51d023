//! The generated parts of the components' READMEs, from the doc comments of the code they describe.

mod defaults;
mod factory;
mod readme;
mod settings;

use std::fs;

use anyhow::{Context, bail};

use crate::workspace::{Package, Workspace};

/// What to do with what was rendered.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only report what is out of date.
    #[arg(long)]
    check: bool,
}

/// Writes the generated parts, or reports those that are out of date.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    if options.check {
        return check(&workspace);
    }
    for Rendered { path, old, new } in rendered(&workspace)? {
        if old != new {
            eprintln!("docs: {path} changed");
            fs::write(workspace.root.join(&path), new).with_context(|| format!("cannot write {path}"))?;
        }
    }
    Ok(())
}

/// Reports generated parts that are not what the code says now.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let stale: Vec<_> = rendered(workspace)?.into_iter().filter(|it| it.old != it.new).collect();
    if !stale.is_empty() {
        let paths: Vec<_> = stale.into_iter().map(|it| it.path).collect();
        bail!("{} out of date; run `cargo xtask docs` and commit what changes", paths.join(", "));
    }
    Ok(())
}

struct Rendered {
    path: String,
    old: String,
    new: String,
}

fn rendered(workspace: &Workspace) -> anyhow::Result<Vec<Rendered>> {
    let components = workspace.packages.iter().filter(|it| it.files.contains("src/factory.rs"));
    components.map(|it| render(workspace, it).with_context(|| it.folder.clone())).collect()
}

fn render(workspace: &Workspace, package: &Package) -> anyhow::Result<Rendered> {
    let read = |file: &str| {
        fs::read_to_string(workspace.root.join(&package.folder).join(file))
            .with_context(|| format!("cannot read {file}"))
    };
    let old = read("README.md")?;
    let component = factory::table(&read("src/factory.rs")?).context("src/factory.rs")?;
    let settings = settings::table(&read("src/config.rs")?).context("src/config.rs")?;
    let new = readme::replace(&old, "component", &component).context("README.md")?;
    let new = readme::replace(&new, "settings", &settings).context("README.md")?;
    Ok(Rendered { path: format!("{}/README.md", package.folder), old, new })
}
