use std::mem;

use model::{Batch, Flow, Flows, Listener, Listeners, Logs, Metrics, Otlp, OtlpData, Traces};

/// What waits for more.
#[derive(Debug, Default)]
pub(crate) struct Held {
    flows: Vec<Flow>,
    listeners: Vec<Listener>,
    metrics: Vec<Metrics>,
    traces: Vec<Traces>,
    logs: Vec<Logs>,
    n_items: u64,
}

impl Held {
    pub(crate) const fn n_items(&self) -> u64 {
        self.n_items
    }

    pub(crate) fn push(&mut self, batch: Batch) {
        self.n_items += batch.n_items();
        match batch {
            Batch::Flows(mut flows) => self.flows.append(&mut flows.records),
            Batch::Listeners(mut listeners) => self.listeners.append(&mut listeners.records),
            Batch::Metrics(metrics) => self.metrics.push(metrics),
            Batch::Traces(traces) => self.traces.push(traces),
            Batch::Logs(logs) => self.logs.push(logs),
        }
    }

    /// Takes everything, put together, in batches of `max_items` at most; zero for no limit.
    pub(crate) fn take(&mut self, max_items: u64) -> Vec<Batch> {
        let max_items = if max_items == 0 { u64::MAX } else { max_items };
        let Self { flows, listeners, metrics, traces, logs, n_items: _ } = mem::take(self);
        let mut batches = Vec::new();
        batches.extend(chunks(flows, max_items).map(|records| Batch::Flows(Flows { records })));
        batches.extend(chunks(listeners, max_items).map(|records| Batch::Listeners(Listeners { records })));
        batches.extend(parts(metrics, max_items).map(Batch::Metrics));
        batches.extend(parts(traces, max_items).map(Batch::Traces));
        batches.extend(parts(logs, max_items).map(Batch::Logs));
        batches
    }
}

fn parts<D: OtlpData>(batches: Vec<Otlp<D>>, max_items: u64) -> impl Iterator<Item = Otlp<D>> {
    Otlp::merged(batches).into_iter().flat_map(move |it| it.split(max_items))
}

fn chunks<T>(mut records: Vec<T>, max_items: u64) -> impl Iterator<Item = Vec<T>> {
    let max = usize::try_from(max_items).unwrap_or(usize::MAX);
    std::iter::from_fn(move || {
        let rest = records.split_off(records.len().min(max));
        let chunk = mem::replace(&mut records, rest);
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use component_test::{flow, flows, listener, listeners};

    use super::*;

    #[test]
    fn records_stay_in_their_order() {
        let mut held = Held::default();
        held.push(flows([flow().id(1), flow().id(2)]));
        held.push(listeners([listener()]));
        held.push(flows([flow().id(3), flow().id(4), flow().id(5)]));
        assert_eq!(held.n_items(), 6);
        let expected = [
            flows([flow().id(1), flow().id(2)]),
            flows([flow().id(3), flow().id(4)]),
            flows([flow().id(5)]),
            listeners([listener()]),
        ];
        assert_eq!(held.take(2), expected);
        assert_eq!((held.n_items(), held.take(2)), (0, Vec::new()));
    }
}
