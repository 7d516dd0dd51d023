//! The generated parts of the components' READMEs, from the doc comments of the code they describe.

mod defaults;
mod factory;
mod readme;
mod settings;

use std::{fs, iter};

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
    each(&workspace, |Rendered { path, old, new }| {
        if old != new {
            eprintln!("docs: {path} changed");
            fs::write(workspace.root.join(&path), new).with_context(|| format!("cannot write {path}"))?;
        }
        Ok(())
    })
}

/// Reports generated parts that are not what the code says now.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<()> {
    each(workspace, |Rendered { path, old, new }| {
        if old != new {
            bail!("{path} is out of date; run `cargo xtask docs` and commit what changes");
        }
        Ok(())
    })
}

/// Renders every component's README. What is wrong with one does not hide what is wrong with the next.
fn each(workspace: &Workspace, visit: impl Fn(Rendered) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let components =
        workspace.packages.iter().filter(|it| it.files.contains(FACTORY) && it.files.contains(CONFIG));
    let mut n_failed = 0;
    for package in components {
        let rendered = render(workspace, package).with_context(|| package.folder.clone());
        if let Err(error) = rendered.and_then(&visit) {
            eprintln!("docs: {error:#}");
            n_failed += 1;
        }
    }
    if n_failed > 0 {
        bail!("{n_failed} of the components' READMEs cannot be generated or are out of date");
    }
    Ok(())
}

struct Rendered {
    path: String,
    old: String,
    new: String,
}

const FACTORY: &str = "src/factory.rs";
const CONFIG: &str = "src/config.rs";

fn is_source(file: &str) -> bool {
    file.starts_with("src/") && file.ends_with(".rs")
}

fn render(workspace: &Workspace, package: &Package) -> anyhow::Result<Rendered> {
    let read_in = |package: &Package, file: &str| {
        let path = workspace.root.join(&package.folder).join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}/{file}", package.folder))
    };
    let read = |file: &str| read_in(package, file);
    let old = read("README.md")?;
    let component = factory::table(&read(FACTORY)?).context(FACTORY)?;
    let others = package.files.iter().filter(|it| is_source(it) && *it != CONFIG);
    let own = iter::once(CONFIG).chain(others.map(String::as_str)).map(read);
    // Sections that several components have are in a crate that these depend on.
    let is_used = |it: &&Package| package.dependencies.iter().any(|dependency| dependency.package == it.name);
    let used = workspace.packages.iter().filter(is_used).filter(|it| it.files.contains(CONFIG));
    let sources = own.chain(used.map(|it| read_in(it, CONFIG)));
    let settings = settings::table(&sources.collect::<Result<Vec<_>, _>>()?).context(CONFIG)?;
    let new = readme::replace(&old, "component", &component).context("README.md")?;
    let new = readme::replace(&new, "settings", &settings).context("README.md")?;
    Ok(Rendered { path: format!("{}/README.md", package.folder), old, new })
}
