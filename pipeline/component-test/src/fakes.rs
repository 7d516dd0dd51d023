//! Components of one closure each, without settings, for tests of what stands around components.

use std::sync::{Arc, Mutex, PoisonError};

use component::{
    BoxError, BoxFuture, Config, Exporter, Factory, Input, Output, Processor, Receiver, Shutdown,
};
use model::{Batch, Signal};
use serde::Deserialize;

/// Makes receivers that run the closure.
pub fn receiver<F, Fut>(type_name: &'static str, emits: &'static [Signal], run: F) -> Factory
where
    F: Fn(Output, Shutdown) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let create = move |_: NoSettings, _| {
        let run = run.clone();
        async move { Ok(Box::new(Fake(run)) as Box<dyn Receiver>) }
    };
    Factory::receiver(type_name, emits, create).with_summary("a fake")
}

/// Makes receivers that send the batches and then wait for shutdown.
pub fn burst(type_name: &'static str, emits: &'static [Signal], batches: Vec<Batch>) -> Factory {
    receiver(type_name, emits, move |output, mut shutdown| {
        let batches = batches.clone();
        async move {
            for batch in batches {
                output.send(batch).await?;
            }
            shutdown.requested().await;
            Ok(())
        }
    })
}

/// Makes processors that run the closure.
pub fn processor<F, Fut>(type_name: &'static str, signals: &'static [Signal], run: F) -> Factory
where
    F: Fn(Input, Output) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let create = move |_: NoSettings, _| {
        let run = run.clone();
        async move { Ok(Box::new(Fake(run)) as Box<dyn Processor>) }
    };
    Factory::processor(type_name, signals, create).with_summary("a fake")
}

/// Makes processors that pass everything on.
pub fn passing(type_name: &'static str, signals: &'static [Signal]) -> Factory {
    processor(type_name, signals, |mut input, output| async move {
        while let Some(batch) = input.recv().await {
            output.send(batch).await?;
        }
        Ok(())
    })
}

/// Makes connectors that turn each batch into another.
pub fn connector<F>(
    type_name: &'static str,
    accepts: &'static [Signal],
    emits: &'static [Signal],
    turn: F,
) -> Factory
where
    F: Fn(Batch) -> Batch + Clone + Send + Sync + 'static,
{
    let create = move |_: NoSettings, _| {
        let turn = turn.clone();
        let run = move |mut input: Input, output: Output| async move {
            while let Some(batch) = input.recv().await {
                output.send(turn(batch)).await?;
            }
            Ok(())
        };
        async move { Ok(Box::new(Fake(run)) as Box<dyn Processor>) }
    };
    Factory::connector(type_name, accepts, emits, create).with_summary("a fake")
}

/// Makes exporters that run the closure.
pub fn exporter<F, Fut>(type_name: &'static str, accepts: &'static [Signal], run: F) -> Factory
where
    F: Fn(Input) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let create = move |_: NoSettings, _| {
        let run = run.clone();
        async move { Ok(Box::new(Fake(run)) as Box<dyn Exporter>) }
    };
    Factory::exporter(type_name, accepts, create).with_summary("a fake")
}

/// Keeps what its exporters were given. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<Batch>>>);

impl Recorder {
    /// Makes exporters that keep each batch here.
    pub fn factory(&self, type_name: &'static str, accepts: &'static [Signal]) -> Factory {
        let recorder = self.clone();
        exporter(type_name, accepts, move |mut input| {
            let recorder = recorder.clone();
            async move {
                while let Some(batch) = input.recv().await {
                    recorder.push(batch);
                }
                Ok(())
            }
        })
    }

    /// Returns what was kept so far, in the order of arrival.
    pub fn batches(&self) -> Vec<Batch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how many items were kept so far.
    pub fn n_items(&self) -> u64 {
        self.batches().iter().map(Batch::n_items).sum()
    }

    /// Keeps a batch, for exporters that do something else besides.
    pub fn push(&self, batch: Batch) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NoSettings {}

impl Config for NoSettings {}

struct Fake<F>(F);

impl<F, Fut> Receiver for Fake<F>
where
    F: FnOnce(Output, Shutdown) -> Fut + Send,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn run(self: Box<Self>, output: Output, shutdown: Shutdown) -> BoxFuture<Result<(), BoxError>> {
        Box::pin((self.0)(output, shutdown))
    }
}

impl<F, Fut> Processor for Fake<F>
where
    F: FnOnce(Input, Output) -> Fut + Send,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin((self.0)(input, output))
    }
}

impl<F, Fut> Exporter for Fake<F>
where
    F: FnOnce(Input) -> Fut + Send,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn run(self: Box<Self>, input: Input) -> BoxFuture<Result<(), BoxError>> {
        Box::pin((self.0)(input))
    }
}
