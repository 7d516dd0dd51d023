use std::{collections::BTreeMap, fmt};

use component::Kind;
use config::{Pipeline, PipelineName, Reference};
use model::Signal;

/// One running component.
///
/// A receiver, connector or exporter is one instance in every pipeline that names it. A processor is one instance in
/// each: what it remembers of one pipeline's data must not leak into another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// The component of the configuration.
    pub reference: Reference,
    /// The pipeline that the instance belongs to; processors only.
    pub pipeline: Option<PipelineName>,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reference, pipeline } = self;
        match pipeline {
            Some(pipeline) => write!(f, "{reference} of pipeline `{pipeline}`"),
            None => reference.fmt(f),
        }
    }
}

/// An instance, and where its batches go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// What runs here.
    pub(crate) instance: Instance,
    /// Which nodes get each batch of a signal, as indices into [`Graph::nodes`]. One that is named twice gets each batch twice:
    /// two pipelines lead there.
    pub(crate) consumers: Vec<(Signal, usize)>,
}

/// How instances are connected.
///
/// Displayed as a line for each instance: which it is, and which get its batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    /// The instances in the order in which they start: exporters first, receivers last, so that nothing is received
    /// before everything it needs is there.
    pub(crate) nodes: Vec<Node>,
}

impl Graph {
    /// Derives the graph of checked pipelines.
    pub(crate) fn of(pipelines: &[Pipeline]) -> Self {
        let mut consumers: BTreeMap<Instance, Vec<(Signal, Instance)>> = BTreeMap::new();
        for Pipeline { name, receivers, processors, exporters } in pipelines {
            let shared = |it: &Reference| Instance { reference: it.clone(), pipeline: None };
            let own = |it: &Reference| Instance { reference: it.clone(), pipeline: Some(name.clone()) };
            // From the end to the beginning, so that each knows what comes after it.
            let of_signal = |it: Instance| (name.signal, it);
            let mut next: Vec<_> = exporters.iter().map(shared).map(of_signal).collect();
            for (_, exporter) in &next {
                consumers.entry(exporter.clone()).or_default();
            }
            for processor in processors.iter().rev().map(own) {
                consumers.insert(processor.clone(), next);
                next = vec![of_signal(processor)];
            }
            for receiver in receivers.iter().map(shared) {
                consumers.entry(receiver).or_default().extend(next.iter().cloned());
            }
        }
        let mut order: Vec<Instance> = consumers.keys().cloned().collect();
        order.sort_by_key(|it| start_rank(it.reference.kind));
        let idx_of: BTreeMap<&Instance, usize> =
            order.iter().enumerate().map(|(idx, it)| (it, idx)).collect();
        let node = |instance: &Instance| Node {
            instance: instance.clone(),
            consumers: consumers[instance].iter().map(|(signal, it)| (*signal, idx_of[it])).collect(),
        };
        Self { nodes: order.iter().map(node).collect() }
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Node { instance, consumers } in &self.nodes {
            write!(f, "{instance}")?;
            for (n, (_, idx)) in consumers.iter().enumerate() {
                write!(f, "{}{}", if n == 0 { " -> " } else { ", " }, self.nodes[*idx].instance)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

const fn start_rank(kind: Kind) -> u8 {
    match kind {
        Kind::Exporter => 0,
        Kind::Connector => 1,
        Kind::Processor => 2,
        Kind::Receiver => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_a_chain() {
        check(
            &[pipeline("flows", &["receiver r"], &["processor p", "processor q"], &["exporter e"])],
            &[
                "exporter `e`",
                "processor `p` of pipeline `flows` -> processor `q` of pipeline `flows`",
                "processor `q` of pipeline `flows` -> exporter `e`",
                "receiver `r` -> processor `p` of pipeline `flows`",
            ],
        );
    }

    #[test]
    fn a_connector_ends_one_pipeline_and_begins_another() {
        check(
            &[
                pipeline("flows", &["receiver r"], &["processor p"], &["connector c", "exporter raw"]),
                pipeline("metrics", &["connector c"], &[], &["exporter e", "exporter f"]),
            ],
            &[
                "exporter `e`",
                "exporter `f`",
                "exporter `raw`",
                "connector `c` -> exporter `e`, exporter `f`",
                "processor `p` of pipeline `flows` -> connector `c`, exporter `raw`",
                "receiver `r` -> processor `p` of pipeline `flows`",
            ],
        );
    }

    /// Receivers and exporters are shared by the pipelines that name them, processors are not.
    #[test]
    fn only_processors_are_made_once_for_each_pipeline() {
        check(
            &[
                pipeline("flows", &["receiver r"], &["processor p"], &["exporter e"]),
                pipeline("flows/raw", &["receiver r"], &[], &["exporter e"]),
                pipeline("flows/too", &["receiver r"], &["processor p"], &["exporter e"]),
            ],
            &[
                "exporter `e`",
                "processor `p` of pipeline `flows` -> exporter `e`",
                "processor `p` of pipeline `flows/too` -> exporter `e`",
                "receiver `r` -> processor `p` of pipeline `flows`, exporter `e`, \
                 processor `p` of pipeline `flows/too`",
            ],
        );
    }

    #[track_caller]
    fn check(pipelines: &[Pipeline], expected: &[&str]) {
        let shown = Graph::of(pipelines).to_string();
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }

    fn pipeline(name: &str, receivers: &[&str], processors: &[&str], exporters: &[&str]) -> Pipeline {
        let (signal, name) = match name.split_once('/') {
            Some((signal, name)) => (signal, Some(name.to_owned())),
            None => (name, None),
        };
        let signal = Signal::ALL.into_iter().find(|it| it.as_str() == signal).unwrap();
        let references = |texts: &[&str]| texts.iter().map(|it| reference(it)).collect();
        Pipeline {
            name: PipelineName { signal, name },
            receivers: references(receivers),
            processors: references(processors),
            exporters: references(exporters),
        }
    }

    fn reference(text: &str) -> Reference {
        let (kind, id) = text.split_once(' ').unwrap();
        let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind).unwrap();
        Reference { kind, id: id.parse().unwrap() }
    }
}
