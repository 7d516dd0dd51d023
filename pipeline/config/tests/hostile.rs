//! Files that no person means to write.

#[path = "golden/fakes.rs"]
mod fakes;

use std::{collections::BTreeMap, io::Write};

use config::{Environment, Sources};
use proptest::prelude::*;
use tempfile::NamedTempFile;

/// Real configurations, from which hostile ones are made: a random text is hardly ever YAML.
const VALID: &str = include_str!("../testdata/valid_every_form/config.yaml");
const VARIABLES: &str = include_str!("../testdata/env/config.yaml");

#[test]
fn a_file_may_be_as_large_as_the_limit() {
    let mut text = VALID.to_owned();
    text.push_str(&"#".repeat((1 << 20) - text.len()));
    assert_eq!(load(text.as_bytes()), "");
}

#[test]
fn a_larger_file_is_refused_without_reading_it_all() {
    let endless = Sources { files: vec!["/dev/zero".into()], ..Sources::default() };
    let errors = config::load(&endless, &fakes::factories()).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "/dev/zero: the file is larger than 1048576 bytes\n\
         help: split it and name each part with `--config`"
    );
}

/// The place is where a person must look, also in a file that an editor shows as something else.
#[test]
fn a_file_that_is_not_text_is_refused_where_it_stops_being_text() {
    let errors = load(b"receivers:\n  \xff\xfe\n");
    assert!(errors.starts_with("FILE:2:3: the file is not UTF-8 from here on"), "{errors}");
}

/// A few thousand bytes of variables must not become gigabytes.
#[test]
fn what_variables_add_is_limited() {
    let large = "x".repeat(100_000);
    let list = "\"${env:LARGE}\", ".repeat(11);
    let errors = load_with(format!("a: [{list}]\n").as_bytes(), &[("LARGE", &large)]);
    assert_eq!(errors.matches("variables add more than 1048576 bytes").count(), 1, "{errors}");
}

/// No check recurses along the graph.
#[test]
fn a_cycle_through_thousands_of_pipelines_is_one_error() {
    let n = 4000;
    let connectors: String = (0..n).map(|idx| format!("  forward/{idx}:\n")).collect();
    let pipelines: String = (0..n)
        .map(|idx| {
            let next = (idx + 1) % n;
            format!("    metrics/{idx}: {{receivers: [forward/{idx}], exporters: [forward/{next}]}}\n")
        })
        .collect();
    let errors = load(format!("connectors:\n{connectors}service:\n  pipelines:\n{pipelines}").as_bytes());
    assert_eq!(errors.matches("pipelines form a cycle").count(), 1);
}

/// Work grows with the file and the number of its mistakes, not with their product.
#[test]
fn thousands_of_mistakes_are_reported() {
    let n = 12_000;
    let keys: String = (0..n).map(|idx| format!("    key{idx}: x\n")).collect();
    let ids: String = (0..n).map(|idx| format!("  kafka/{idx}:\n")).collect();
    let errors = load(format!("receivers:\n  ebpf:\n{keys}exporters:\n{ids}").as_bytes());
    assert_eq!(errors.matches("unknown setting").count(), 100);
    assert_eq!(errors.matches("unknown exporter").count(), n);
}

proptest! {
    /// Whatever stands in a file, it is accepted, or refused with a reason that can be printed.
    #[test]
    fn no_text_makes_loading_panic(text in "[ -~\\n\\t\u{e9}\u{feff}\u{1f980}]{0,200}") {
        load(text.as_bytes());
    }

    #[test]
    fn no_bytes_make_loading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        load(&bytes);
    }

    /// Edits of a valid file reach every check behind the parser.
    #[test]
    fn no_edit_of_a_valid_file_makes_loading_panic(
        base in prop::sample::select(vec![VALID, VARIABLES]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, edit()), 1..6),
    ) {
        let mut chars: Vec<char> = base.chars().collect();
        for (at, n_removed, inserted) in edits {
            let start = at.index(chars.len() + 1);
            let end = (start + n_removed).min(chars.len());
            chars.splice(start..end, inserted.chars());
        }
        let text: String = chars.into_iter().collect();
        load_with(text.as_bytes(), &[("INTERVAL", "3s"), ("PORT", "9999"), ("LIST", "[1, {a: b}]")]);
    }

    /// Whatever an argument is, it is accepted or refused.
    #[test]
    fn no_argument_makes_loading_panic(argument in "[a-z.=\"\\[\\]{}$: \\\\]{0,60}") {
        let sources = Sources {
            set: vec![argument],
            environment: Environment::Fixed(BTreeMap::new()),
            ..Sources::default()
        };
        let result = config::load(&sources, &fakes::factories());
        prop_assert!(result.is_err());
    }
}

/// Pieces that mean something in YAML or in a configuration.
fn edit() -> impl Strategy<Value = String> {
    let known = [
        "",
        "\n",
        "  ",
        "-",
        ":",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "*links",
        "&a ",
        "<<: ",
        "!!str ",
        "? ",
        "| ",
        "#",
        "---\n",
        "~",
        "null",
        "0",
        "-1",
        "1e999",
        "true",
        "${env:",
        "${env:LIST}",
        "${",
        "$$",
        "links",
        "ebpf",
        "flows",
        "metrics",
        "receivers",
        "pipelines:\n",
    ];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), "[ -~]{0,6}"]
}

fn load(bytes: &[u8]) -> String {
    load_with(bytes, &[])
}

/// Loads one file; returns its errors with the file's name replaced.
fn load_with(bytes: &[u8], variables: &[(&str, &str)]) -> String {
    let mut file = NamedTempFile::new().expect("a test may write temporary files");
    file.write_all(bytes).expect("a temporary file can be written");
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sources = Sources {
        files: vec![file.path().to_owned()],
        environment: Environment::Fixed(variables.collect()),
        ..Sources::default()
    };
    let name = file.path().display().to_string();
    match config::load(&sources, &fakes::factories()) {
        Ok(_) => String::new(),
        Err(errors) => {
            let text = errors.to_string();
            assert!(errors.iter().next().is_some(), "refused without a reason");
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?} controls a terminal");
            text.replace(&name, "FILE")
        }
    }
}
