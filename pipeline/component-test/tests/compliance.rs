//! A component that does everything right passes; each single mistake is found.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use component::{
    BoxError, BoxFuture, Config, Context, Counter, Factory, Input, InvalidSetting, Output, Processor,
    Receiver, Shutdown,
};
use component_test::{Compliance, Harness, fakes, flow, flows, listener, listeners};
use model::{Batch, Flows, Signal};
use serde::Deserialize;
use tokio::task;

#[tokio::test(start_paused = true)]
async fn a_component_without_mistakes_passes() {
    compliance(Mistake::None).check().await;
}

/// Each mistake is one that an author makes by forgetting a line.
#[tokio::test(start_paused = true)]
async fn each_mistake_is_found() {
    let cases = [
        (Mistake::DropsSilently, "and the sum of 3 passed on, 0 dropped and 0 merged"),
        (Mistake::KeepsTheLast, "and the sum of 2 passed on, 1 dropped and 0 merged"),
        (Mistake::LosesWhatItHolds, "items taken, and the sum of 0 passed on, 0 dropped and 0 merged"),
        (Mistake::IgnoresTheEnd, "waited 60s for a component that ends"),
        (Mistake::FailsAtTheEnd, "ended with an error although nothing failed"),
        (Mistake::InventsItems, "and the sum of 4 passed on"),
        (Mistake::NamesMetricsItsOwnWay, "`dropped_total` begins neither with"),
        (Mistake::SummaryIsASentence, "the summary is one line, no full stop"),
    ];
    for (mistake, expected) in cases {
        let message = failure(compliance(mistake)).await;
        assert!(message.contains(expected), "{mistake:?} was reported as: {message}");
    }
}

/// A setting that the file of the component does not name, or a level where unknown keys pass, is found too.
#[tokio::test(start_paused = true)]
async fn settings_that_are_not_closed_are_found() {
    let lenient = |_: Lenient, _| async { Ok(Box::new(Sampler::of(Mistake::None)) as Box<dyn Processor>) };
    let factory = Factory::processor("model", &[Signal::Flows], lenient).with_summary("keeps one of many");
    let message = failure(Compliance::new(factory, folder()).free_form("labels").input(input())).await;
    assert!(message.contains("the unknown key `no_such_setting` is accepted"), "{message}");

    let missing_input = Compliance::new(sampler(Mistake::None), folder()).free_form("labels");
    let message = failure(missing_input).await;
    assert!(message.contains("needs input of flows"), "{message}");

    let half_the_input = Compliance::new(sampler(Mistake::None), folder()).free_form("labels").input(input());
    let message = failure(half_the_input).await;
    assert!(message.contains("needs input of listening sockets"), "{message}");
}

/// What the harness counts as the component's is the component's alone.
#[tokio::test(start_paused = true)]
async fn a_harness_carries_batches_both_ways() {
    let mut harness = Harness::start(&fakes::passing("pass", &[Signal::Flows]), "").await;
    harness.send(input()).await;
    assert_eq!(harness.recv().await, Some(input()));
    harness.send(input()).await;
    let outcome = harness.finish().await;
    assert_eq!((outcome.batches.len(), outcome.ledger.consumed, outcome.ledger.produced), (1, 6, 6));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    DropsSilently,
    KeepsTheLast,
    LosesWhatItHolds,
    IgnoresTheEnd,
    FailsAtTheEnd,
    InventsItems,
    NamesMetricsItsOwnWay,
    SummaryIsASentence,
}

/// Passes on one of `every` records and drops the others.
#[derive(Debug)]
struct Sampler {
    mistake: Mistake,
    every: usize,
    dropped: Option<Counter>,
}

impl Sampler {
    fn of(mistake: Mistake) -> Self {
        Self { mistake, every: 2, dropped: None }
    }

    async fn drive(self, mut input: Input, output: Output) -> Result<(), BoxError> {
        let Self { mistake, every, dropped } = self;
        if mistake == Mistake::LosesWhatItHolds {
            return hold(input, output).await;
        }
        let mut n_seen = 0;
        while let Some(batch) = input.recv().await {
            let Batch::Flows(Flows { mut records }) = batch else {
                output.send(batch).await?;
                continue;
            };
            records.retain(|_| {
                n_seen += 1;
                let kept = n_seen % every == 1;
                if !kept && let Some(dropped) = &dropped {
                    dropped.add(1);
                }
                kept
            });
            match mistake {
                Mistake::KeepsTheLast => drop(records.pop()),
                Mistake::InventsItems => records.push(flow().build()),
                _ => {}
            }
            output.send(Batch::Flows(Flows { records })).await?;
        }
        match mistake {
            Mistake::IgnoresTheEnd => std::future::pending().await,
            Mistake::FailsAtTheEnd => Err("the input ended".into()),
            _ => Ok(()),
        }
    }
}

impl Processor for Sampler {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}

/// Passes everything on at the end, if there is one.
async fn hold(mut input: Input, output: Output) -> Result<(), BoxError> {
    let mut held = Vec::new();
    while let Some(batch) = input.recv().await {
        held.push(batch);
    }
    for batch in held {
        output.send(batch).await?;
    }
    Ok(())
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    every: usize,
    labels: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { every: 1, labels: BTreeMap::new() }
    }
}

impl Config for Settings {
    fn validate(&self) -> Vec<InvalidSetting> {
        let n_labels = self.labels.len();
        (n_labels > 2)
            .then(|| InvalidSetting::new("labels", "at most 2 labels", n_labels))
            .into_iter()
            .collect()
    }
}

/// As [`Settings`], without refusing what it does not know.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Lenient {
    every: usize,
    labels: BTreeMap<String, String>,
}

impl Config for Lenient {}

fn sampler(mistake: Mistake) -> Factory {
    let create = move |settings: Settings, context: Context| async move {
        let dropped = match mistake {
            Mistake::DropsSilently => None,
            Mistake::NamesMetricsItsOwnWay => {
                context.telemetry.counter("dropped_total", "{item}", "Items.", &[]);
                Some(context.telemetry.dropped(Signal::Flows, "sampled"))
            }
            _ => Some(context.telemetry.dropped(Signal::Flows, "sampled")),
        };
        let Settings { every, labels: _ } = settings;
        Ok(Box::new(Sampler { mistake, every, dropped }) as Box<dyn Processor>)
    };
    let summary = match mistake {
        Mistake::SummaryIsASentence => "Keeps one of many.",
        _ => "keeps one of many",
    };
    Factory::processor("model", &[Signal::Flows], create).with_summary(summary)
}

fn compliance(mistake: Mistake) -> Compliance {
    Compliance::new(sampler(mistake), folder())
        .free_form("labels")
        .settings("every: 2")
        .input(input())
        .input(listeners([listener()]))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/component")
}

fn input() -> Batch {
    flows([flow().id(1), flow().id(2), flow().id(3)])
}

/// What a connector sends are other items than it took: all that can be told of one that sent nothing is that it must have
/// dropped what it took. A receiver and an exporter end by themselves.
#[tokio::test(start_paused = true)]
async fn who_is_not_done_in_time_is_found() {
    let connector =
        |_: Settings, _| async { Ok(Box::new(Sampler::of(Mistake::LosesWhatItHolds)) as Box<dyn Processor>) };
    let connector = Factory::connector("model", &[Signal::Flows], &[Signal::Flows], connector);
    let receiver = |_: Settings, _| async { Ok(Box::new(Endless) as Box<dyn Receiver>) };
    let receiver = Factory::receiver("model", &[Signal::Flows], receiver);
    for (factory, input, expected) in [
        (
            connector,
            vec![input(), listeners([listener()])],
            "of a connector that is ended before it sent anything",
        ),
        (receiver, Vec::new(), "when its time is over: Err(\"the component was ended by force\")"),
    ] {
        let compliance = Compliance::new(factory.with_summary("is late"), folder()).free_form("labels");
        let message = failure(input.into_iter().fold(compliance, Compliance::input)).await;
        assert!(message.contains(expected), "{message}");
    }
}

/// Waits for the next component to take a batch, however long that takes.
#[derive(Debug)]
struct Endless;

impl Receiver for Endless {
    fn run(self: Box<Self>, output: Output, mut shutdown: Shutdown) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(async move {
            output.send(input()).await?;
            shutdown.requested().await;
            Ok(())
        })
    }
}

async fn failure(compliance: Compliance) -> String {
    let failed = task::spawn(async move { compliance.check().await }).await.expect_err("a mistake is found");
    match failed.into_panic().downcast::<String>() {
        Ok(message) => *message,
        Err(other) => (*other.downcast::<&str>().expect("a message with what is wrong")).to_owned(),
    }
}
