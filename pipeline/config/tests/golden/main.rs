//! Loads each configuration in `testdata` and compares what a person reads with `expected.txt` beside it.
//!
//! A case is a folder: `config.yaml` and other `*.yaml` are the files, in this order; `env` holds variables and `set`
//! arguments, one a line. `UPDATE_GOLDEN=1 cargo test -p ridley-config --test golden` writes what is expected.

mod fakes;

use std::{collections::BTreeMap, env, fmt::Write, fs, path::Path, path::PathBuf};

use config::{Checked, Component, Embedded, Environment, Pipeline, Sources};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let cases = folder.read_dir().expect("testdata is a folder of this crate");
    let mut cases: Vec<PathBuf> = cases.map(|it| it.expect("a folder can be listed").path()).collect();
    cases.sort();
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    let trials = cases.into_iter().map(|case| {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(name, move || check(&case))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn check(case: &Path) -> Result<(), Failed> {
    let actual = load(case)?;
    let path = case.join("expected.txt");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual)?;
        return Ok(());
    }
    let expected = fs::read_to_string(&path)?;
    if actual != expected {
        return Err(format!("expected:\n{expected}\nactual:\n{actual}").into());
    }
    Ok(())
}

fn load(case: &Path) -> Result<String, Failed> {
    let mut files = Vec::new();
    for entry in case.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "yaml") {
            files.push(path);
        }
    }
    files.sort_by_key(|it| (!it.ends_with("config.yaml"), it.clone()));
    for path in lines(&case.join("files"))? {
        files.push(case.join(path));
    }
    let variables = lines(&case.join("env"))?.into_iter().map(|line| {
        let (name, value) = line.split_once('=').unwrap_or((&line, ""));
        (name.to_owned(), value.to_owned())
    });
    let sources = Sources {
        embedded: Some(Embedded { name: "embedded", text: "receivers:\n  ebpf:\n" }),
        files,
        set: lines(&case.join("set"))?,
        environment: Environment::Fixed(variables.collect::<BTreeMap<_, _>>()),
    };
    let mut text = match config::load(&sources, &fakes::factories()) {
        Ok(checked) => describe(&checked)?,
        Err(errors) => errors.to_string(),
    };
    text.push('\n');
    Ok(text.replace(&format!("{}/", case.display()), ""))
}

fn lines(path: &Path) -> Result<Vec<String>, Failed> {
    match path.exists() {
        true => Ok(fs::read_to_string(path)?.lines().map(str::to_owned).collect()),
        false => Ok(Vec::new()),
    }
}

fn describe(checked: &Checked) -> Result<String, Failed> {
    let Checked { components, pipelines, service, warnings } = checked;
    let mut text = String::new();
    for warning in warnings {
        writeln!(text, "warning: {warning}\n")?;
    }
    for (reference, Component { settings, place }) in components {
        writeln!(text, "{reference} at {place}: {settings:?}")?;
    }
    for Pipeline { name, receivers, processors, exporters } in pipelines {
        let [receivers, processors, exporters] = [receivers, processors, exporters]
            .map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        writeln!(text, "{name}: [{receivers}] -> [{processors}] -> [{exporters}]")?;
    }
    write!(text, "{service:?}")?;
    Ok(text)
}
