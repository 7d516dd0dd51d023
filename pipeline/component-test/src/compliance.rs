use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use component::{Factory, Kind};
use figment::value::{Dict, Value};
use model::{Batch, Signal};
use tokio::time;

use crate::{
    Harness, Ledger, Outcome, ledger,
    yaml::{parse, section, settings},
};

/// A key that no component has.
const UNKNOWN_KEY: &str = "no_such_setting";

/// What is expected of every component, whatever it does.
///
/// ```no_run
/// # async fn test(factory: component::Factory, batch: model::Batch) {
/// // In tests/compliance.rs of the component, under `#[tokio::test(start_paused = true)]`:
/// component_test::Compliance::new(factory, env!("CARGO_MANIFEST_DIR"))
///     .input(batch)
///     .merging("ridley.join.merged.items")
///     .check()
///     .await;
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Compliance {
    factory: Factory,
    folder: PathBuf,
    settings: String,
    input: Vec<Batch>,
    merging: Vec<&'static str>,
    free_form: Vec<&'static str>,
}

impl Compliance {
    /// Starts the check of the component whose crate is in `folder`: `env!("CARGO_MANIFEST_DIR")`.
    pub fn new(factory: Factory, folder: impl Into<PathBuf>) -> Self {
        Self {
            factory,
            folder: folder.into(),
            settings: String::new(),
            input: Vec::new(),
            merging: Vec::new(),
            free_form: Vec::new(),
        }
    }

    /// Sets what the component is run with: YAML of its section. The defaults, unless set.
    #[must_use]
    pub fn settings(mut self, yaml: impl Into<String>) -> Self {
        self.settings = yaml.into();
        self
    }

    /// Adds a batch that the component is given. Every kind that it must take needs one with items.
    #[must_use]
    pub fn input(mut self, batch: Batch) -> Self {
        self.input.push(batch);
        self
    }

    /// Adds batches, each as [`input`](Self::input) does.
    #[must_use]
    pub fn inputs(self, batches: impl IntoIterator<Item = Batch>) -> Self {
        batches.into_iter().fold(self, Self::input)
    }

    /// Declares a counter of items that a processor made part of others: they are neither passed on nor dropped.
    #[must_use]
    pub fn merging(mut self, counter: &'static str) -> Self {
        self.merging.push(counter);
        self
    }

    /// Declares a setting below which users choose the keys, so that no key is unknown there.
    #[must_use]
    pub fn free_form(mut self, path: &'static str) -> Self {
        self.free_form.push(path);
        self
    }

    /// Checks everything.
    ///
    /// # Panics
    ///
    /// With what the component does wrong.
    pub async fn check(self) {
        self.check_settings();
        self.check_run().await;
    }

    /// Checks the description, the settings and the README; nothing is created.
    ///
    /// - Type and summary read as they are shown.
    /// - `testdata/config.yaml` names every setting, is accepted, and differs from the defaults in each of them.
    /// - Unknown keys are refused at every level.
    /// - Each `testdata/invalid/*.yaml` is refused with the message in its first line, a comment.
    /// - The README names the component and every setting.
    ///
    /// # Panics
    ///
    /// With what the component does wrong.
    pub fn check_settings(&self) {
        self.check_description();
        let text = self.read("testdata/config.yaml");
        let documented = section(&text).unwrap_or_else(|err| panic!("testdata/config.yaml: {err}"));
        let Value::Dict(tag, documented) = documented else {
            panic!("testdata/config.yaml is not a map of settings");
        };
        let accepted = self.debug_of(&documented);
        for key in documented.keys() {
            let mut without = documented.clone();
            without.remove(key);
            if let Ok(settings) = parse(&self.factory, &Value::Dict(tag, without)) {
                let changed = format!("{settings:#?}") != accepted;
                assert!(changed, "testdata/config.yaml sets `{key}` to its default");
            }
        }
        let named: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
        let existing = fields(&accepted);
        assert_eq!(named, existing, "testdata/config.yaml names every setting");
        self.check_unknown_keys(&documented);
        self.check_invalid_files();
        self.check_readme(&existing);
    }

    /// Runs the component as the engine does, and compares what it did with what it says it did.
    ///
    /// - It ends when its input ends (a receiver: when shutdown is requested or it has nothing more), without error.
    /// - It takes everything it is sent. What a processor took, it passed on, merged or dropped: each item counted.
    ///   What it counts as passed on is what came out.
    /// - Without input it ends, and a processor sends nothing.
    /// - It ends when the next component has stopped; that may be an error, not a panic.
    /// - When its time is over while the next component takes nothing, a receiver has ended by itself, as has an exporter.
    ///   A processor or connector that is ended by force then has counted as dropped what it held.
    /// - Its metrics are named in this project's way, and described.
    ///
    /// # Panics
    ///
    /// With what the component does wrong.
    pub async fn check_run(&self) {
        let expect = |what: &str, is_that: fn(&Batch) -> bool| {
            let is_given = self.input.iter().any(|it| is_that(it) && it.n_items() > 0);
            assert!(is_given, "the check needs input of {what}");
        };
        for signal in self.factory.accepts() {
            match signal {
                Signal::Flows => {
                    expect("flows", |it| matches!(it, Batch::Flows(_)));
                    expect("listening sockets, which come with flows", |it| {
                        matches!(it, Batch::Listeners(_))
                    });
                }
                Signal::Metrics => expect("metrics", |it| matches!(it, Batch::Metrics(_))),
                Signal::Traces => expect("traces", |it| matches!(it, Batch::Traces(_))),
                Signal::Logs => expect("logs", |it| matches!(it, Batch::Logs(_))),
            }
        }
        let outcome = self.run(&self.input).await;
        self.check_ledger(&self.input, &outcome);
        check_metric_names(&outcome);
        if self.factory.kind() != Kind::Receiver {
            self.check_without_input().await;
        }
        if self.factory.kind() != Kind::Exporter {
            self.check_without_consumer().await;
        }
        self.check_forced_end(Duration::ZERO).await;
        self.check_forced_end(Duration::from_secs(10)).await;
    }

    fn check_description(&self) {
        let name = self.factory.type_name();
        let is_word = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(is_word && !name.is_empty(), "the type `{name}` is not lower_snake_case");
        let summary = self.factory.summary();
        assert!(!summary.is_empty(), "`{name}` has no summary");
        assert!(!summary.ends_with('.') && !summary.contains('\n'), "the summary is one line, no full stop");
        let (accepts, emits) = (self.factory.accepts(), self.factory.emits());
        assert!(!accepts.is_empty() || !emits.is_empty(), "`{name}` handles no signal");
    }

    fn check_unknown_keys(&self, documented: &Dict) {
        let mut paths = vec![String::new()];
        maps_in(documented, "", &mut paths);
        for path in paths.iter().filter(|it| !self.free_form.contains(&it.as_str())) {
            let mut changed = documented.clone();
            map_at(&mut changed, path).insert(UNKNOWN_KEY.to_owned(), Value::from(1));
            match parse(&self.factory, &changed.into()) {
                Ok(_) => panic!("the unknown key `{UNKNOWN_KEY}` is accepted in `{path}`"),
                Err(message) => {
                    assert!(
                        message.contains(UNKNOWN_KEY),
                        "the error does not name the unknown key: {message}"
                    );
                }
            }
        }
    }

    fn check_invalid_files(&self) {
        let folder = self.folder.join("testdata/invalid");
        // A component whose types exclude every mistake has none.
        let Ok(entries) = fs::read_dir(&folder) else {
            return;
        };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let text = self.read(&path);
            let name = path.display();
            let expected = text.lines().next().and_then(|line| line.strip_prefix("# "));
            let expected = expected.unwrap_or_else(|| panic!("{name}: no comment in the first line"));
            match settings(&self.factory, &text) {
                Ok(_) => panic!("{name}: accepted, expected: {expected}"),
                Err(message) => {
                    assert!(message.contains(expected), "{name}: {message}, expected: {expected}")
                }
            }
        }
    }

    fn check_readme(&self, settings: &BTreeSet<&str>) {
        let text = self.read("README.md");
        for name in settings.iter().copied().chain([self.factory.type_name()]) {
            let is_named = ["`", "."].iter().any(|end| text.contains(&format!("`{name}{end}")));
            assert!(is_named, "README.md does not name `{name}`");
        }
        for heading in ["## Quick start", "## Settings", "## Its own metrics"] {
            assert!(text.contains(heading), "README.md has no \"{heading}\"");
        }
    }

    async fn check_forced_end(&self, timeout: Duration) {
        let harness = Harness::start_blocked(&self.factory, &self.settings).await;
        for batch in &self.input {
            harness.send(batch.clone()).await;
        }
        // Time to take the input, too little for a timer.
        time::sleep(Duration::from_millis(1)).await;
        let outcome = harness.end_by_force(timeout).await;
        let ledger = outcome.ledger;
        match self.factory.kind() {
            Kind::Processor => self.check_accounts(&outcome),
            // What it passes on are not the items that it took, so they only compare if there are none.
            Kind::Connector if ledger.produced == 0 => assert_eq!(
                ledger.consumed, ledger.dropped,
                "items taken and items dropped, of a connector that is ended before it sent anything"
            ),
            Kind::Connector => {}
            Kind::Receiver | Kind::Exporter if timeout.is_zero() => {}
            Kind::Receiver | Kind::Exporter => {
                assert!(outcome.result.is_ok(), "when its time is over: {:?}", outcome.result);
            }
        }
    }

    async fn run(&self, input: &[Batch]) -> Outcome {
        let mut harness = Harness::start(&self.factory, &self.settings).await;
        let mut received = Vec::new();
        if self.factory.kind() == Kind::Receiver {
            // Long enough for several rounds of whatever it does.
            while let Some(batch) = harness.recv_within(Duration::from_secs(1)).await {
                received.push(batch);
                if received.len() >= 8 {
                    break;
                }
            }
            harness.request_shutdown(Duration::from_secs(10));
        }
        for batch in input {
            harness.send(batch.clone()).await;
        }
        let mut outcome = harness.finish().await;
        received.append(&mut outcome.batches);
        Outcome { batches: received, ..outcome }
    }

    fn check_ledger(&self, input: &[Batch], outcome: &Outcome) {
        if let Err(err) = &outcome.result {
            panic!("the component ended with an error although nothing failed: {err}");
        }
        let sent: u64 = input.iter().map(Batch::n_items).sum();
        let Ledger { consumed, produced, dropped: _, queued } = outcome.ledger;
        assert_eq!(produced, outcome.n_items(), "items counted as passed on, and items that came out");
        if self.factory.kind() == Kind::Receiver {
            return;
        }
        assert_eq!((consumed, queued), (sent, 0), "items taken and items left, of {sent} that were sent");
        if self.factory.kind() == Kind::Processor {
            self.check_accounts(outcome);
        }
        for batch in &outcome.batches {
            let signal = batch.signal();
            assert!(self.factory.emits().contains(&signal), "{signal} came out, which is not declared");
        }
    }

    /// Checks that a processor counted what became of every item that it took.
    fn check_accounts(&self, outcome: &Outcome) {
        let Ledger { consumed, produced, dropped, queued: _ } = outcome.ledger;
        let merged: i64 = self.merging.iter().map(|it| ledger::value(&outcome.registry, it, &[])).sum();
        assert_eq!(
            consumed,
            produced + dropped + merged.cast_unsigned(),
            "items taken, and the sum of {produced} passed on, {dropped} dropped and {merged} merged"
        );
    }

    async fn check_without_input(&self) {
        let outcome = self.run(&[]).await;
        assert!(outcome.result.is_ok(), "fails without input: {:?}", outcome.result);
        if self.factory.kind() == Kind::Processor {
            assert_eq!(outcome.n_items(), 0, "items came out and none went in");
        }
    }

    async fn check_without_consumer(&self) {
        let mut harness = Harness::start(&self.factory, &self.settings).await;
        harness.close_output();
        for batch in &self.input {
            if harness.try_send(batch.clone()).await.is_err() {
                break;
            }
        }
        harness.request_shutdown(Duration::from_secs(10));
        // The result does not matter: whoever stopped is reported by the engine.
        drop(harness.finish().await);
    }

    fn debug_of(&self, documented: &Dict) -> String {
        match parse(&self.factory, &documented.clone().into()) {
            Ok(settings) => format!("{settings:#?}"),
            Err(message) => panic!("testdata/config.yaml is refused: {message}"),
        }
    }

    fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.folder.join(path);
        fs::read_to_string(&path).unwrap_or_else(|err| panic!("cannot read {}: {err}", path.display()))
    }
}

/// Returns the names of the outermost fields in the alternate debug form of a struct.
fn fields(debug: &str) -> BTreeSet<&str> {
    debug
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim_start_matches("r#")))
        .collect()
}

fn check_metric_names(outcome: &Outcome) {
    for metric in ledger::metrics(&ledger::collect(&outcome.registry)) {
        let name = &metric.name;
        let known = ["ridley.", "otelcol."].iter().any(|it| name.starts_with(it));
        assert!(known, "the metric `{name}` begins neither with `ridley.` nor with `otelcol.`");
        let is_word = |it: &str| {
            it.starts_with(|c: char| c.is_ascii_lowercase())
                && it.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        assert!(name.split('.').all(is_word), "`{name}` is not lower case words between dots");
        assert!(!name.ends_with("_total"), "`{name}`: the exporter adds `_total` where it belongs");
        assert!(metric.description.ends_with('.'), "`{name}` has no description that is a sentence");
        assert!(!metric.unit.is_empty(), "`{name}` has no unit");
    }
}

/// Collects the paths of the maps below `map`, through maps only.
fn maps_in(map: &Dict, prefix: &str, paths: &mut Vec<String>) {
    for (key, value) in map {
        if let Value::Dict(_, inner) = value {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            maps_in(inner, &path, paths);
            paths.push(path);
        }
    }
}

fn map_at<'a>(map: &'a mut Dict, path: &str) -> &'a mut Dict {
    path.split('.').filter(|key| !key.is_empty()).fold(map, |map, key| match map.get_mut(key) {
        Some(Value::Dict(_, inner)) => inner,
        _ => panic!("`{path}` is not a path of maps"),
    })
}
