//! Keeps the examples in docs/configuration.md true.

#[path = "golden/fakes.rs"]
mod fakes;

use std::{collections::BTreeMap, fs};

use config::{Environment, Service, Sources};

const DOCS: &str = include_str!("../../../docs/configuration.md");

/// A configuration is followed by the mistakes in it, or has none. What has no pipelines is a part of a configuration.
#[test]
fn every_example_is_what_the_page_says() {
    let blocks = blocks();
    let mut n_examples = 0;
    for (idx, (language, text)) in blocks.iter().enumerate().filter(|(_, (language, _))| *language == "yaml")
    {
        if text.contains("pipelines:") && !text.contains("receivers: [") {
            // A second file, which the next test lays over the first.
            continue;
        }
        let errors = load(&[text], &[]);
        let expected = match blocks.get(idx + 1) {
            Some(("text", errors)) => errors.trim_end(),
            _ if text.contains("receivers: [") => "",
            _ => "ridley.yaml: the configuration has no pipelines",
        };
        let actual = if expected.ends_with("no pipelines") { first_line(&errors) } else { &errors };
        assert_eq!(actual, expected, "{language}: {text}");
        n_examples += 1;
    }
    assert!(n_examples == 4, "only {n_examples} examples");
}

/// The arguments of the page, and its second file, fit its first file.
#[test]
fn the_sources_of_the_page_can_be_layered() {
    let blocks = blocks();
    let of = |language: &'static str| blocks.iter().filter(move |it| it.0 == language).map(|it| it.1);
    // A shell takes the single quotes away.
    let console = of("console").next().expect("the page shows a command").replace('\'', "");
    let arguments = console.lines().filter_map(|line| line.trim().strip_prefix("--set "));
    let set: Vec<&str> = arguments.map(|it| it.trim_end_matches([' ', '\\'])).collect();
    assert_eq!(set.len(), 3);
    let first = of("yaml").next().expect("the page begins with a configuration");
    assert_eq!(load(&[first], &set), "");
    let second = of("yaml").find(|it| it.contains("exporters: [prometheus, debug]"));
    assert_eq!(load(&[first, second.expect("the page shows a second file")], &set), "");
}

#[test]
fn the_defaults_of_the_service_are_those_of_the_page() {
    let Service { shutdown_timeout, queue_size } = Service::default();
    assert!(DOCS.contains(&format!("| `queue_size` | `{queue_size}` |")));
    assert!(DOCS.contains(&format!("| `shutdown_timeout` | `{shutdown_timeout:?}` |")));
}

/// Returns the fenced blocks of the page with their languages.
fn blocks() -> Vec<(&'static str, &'static str)> {
    DOCS.split("```").skip(1).step_by(2).filter_map(|it| it.split_once('\n')).collect()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Returns what is wrong with files.
fn load(texts: &[&str], set: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a test may write temporary files");
    let mut files = Vec::new();
    for (idx, text) in texts.iter().enumerate() {
        files.push(folder.path().join(if idx == 0 { "ridley.yaml" } else { "second.yaml" }));
        fs::write(&files[idx], text).expect("a temporary file can be written");
    }
    let sources = Sources {
        files,
        set: set.iter().map(|it| (*it).to_owned()).collect(),
        environment: Environment::Fixed(BTreeMap::from([("POD_IP".to_owned(), "10.0.0.7".to_owned())])),
        ..Sources::default()
    };
    match config::load(&sources, &fakes::factories()) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string().replace(&format!("{}/", folder.path().display()), ""),
    }
}
