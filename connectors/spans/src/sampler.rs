use std::{
    hash::{BuildHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::{Endpoint, TraceId};

use crate::observed::Observed;

/// Those of a trace id's bits that are random by the specification.
///
/// <https://github.com/open-telemetry/opentelemetry-specification/blob/v1.50.0/specification/trace/tracestate-probability-sampling.md>
const RANDOM_BITS: u32 = 56;
const SECOND: Duration = Duration::from_secs(1);
/// Most links that are told apart in a second. Those beyond share one bound.
const MAX_LINKS: usize = 16_384;

/// Says of which connections spans are made.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// From which value of the random bits on.
    threshold: u64,
    max_per_second: u64,
    second: Option<Instant>,
    /// How many spans of each link were made in this second, by the link's hash: of two that share one a span may be missing.
    links: HashMap<u64, u64, RandomState>,
}

/// What is to be done with an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A span is made of it.
    Take,
    /// It is none of the part that has spans.
    Leave,
    /// Its link has as many in this second as it may.
    TooMany,
}

impl Sampler {
    pub(crate) fn new(ratio: f64, max_per_second: u32) -> Self {
        Self {
            threshold: threshold(ratio),
            max_per_second: max_per_second.into(),
            second: None,
            links: HashMap::default(),
        }
    }

    pub(crate) fn choose(&mut self, observed: &Observed, now: Instant) -> Choice {
        if observed.error().is_some() {
            return Choice::Take;
        }
        if random_bits(observed.trace) < self.threshold {
            return Choice::Leave;
        }
        if self.second.is_none_or(|it| now.saturating_duration_since(it) >= SECOND) {
            self.second = Some(now);
            self.links.clear();
        }
        let link = self.link(observed);
        let n_made = self.links.entry(link).or_default();
        let n_more = observed.observers().len() as u64;
        if *n_made + n_more > self.max_per_second {
            return Choice::TooMany;
        }
        *n_made += n_more;
        Choice::Take
    }

    fn link(&self, observed: &Observed) -> u64 {
        let Observed { client, server, transport, .. } = observed;
        let mut state = self.links.hasher().build_hasher();
        hash_end(client, &mut state);
        hash_end(server, &mut state);
        (server.port, transport).hash(&mut state);
        let link = state.finish();
        let has_room = self.links.len() < MAX_LINKS || self.links.contains_key(&link);
        if has_room { link } else { 0 }
    }
}

fn hash_end(end: &Endpoint, state: &mut impl Hasher) {
    match &end.entity {
        Some(entity) => (&entity.name, &entity.namespace, &entity.kind).hash(state),
        None => end.address.hash(state),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from zero to 2^56")]
fn threshold(ratio: f64) -> u64 {
    ((1.0 - ratio) * (1_u64 << RANDOM_BITS) as f64) as u64
}

fn random_bits(trace: TraceId) -> u64 {
    trace.spread() & ((1 << RANDOM_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use component_test::{FlowBuilder, flow};
    use model::{CloseReason, ConnectionId, FailureReason};

    use super::*;

    #[test]
    fn the_ratio_is_the_part_that_is_taken() {
        for (ratio, expected) in
            [(0.0, 0..=0), (0.1, 900..=1_100), (0.5, 4_850..=5_150), (1.0, 10_000..=10_000)]
        {
            let mut sampler = Sampler::new(ratio, u32::MAX);
            let now = Instant::now();
            let taken = (0..10_000).filter(|n| sampler.choose(&closed(*n), now) == Choice::Take).count();
            assert!(expected.contains(&taken), "{taken} of 10000 at {ratio}");
        }
    }

    /// Who observes the other end must take the same, and one that takes more takes those, too.
    #[test]
    fn both_ends_take_the_same_connections() {
        let takes = |ratio: f64, observed: &Observed| {
            Sampler::new(ratio, 1).choose(observed, Instant::now()) == Choice::Take
        };
        for n in 0..1_000 {
            let [client, server] = [flow(), flow().observer(model::Observer::Server).client("10.9.9.9:1")]
                .map(|it| observed(it.id(n).closed(CloseReason::Normal)));
            assert_eq!(takes(0.3, &client), takes(0.3, &server));
            assert!(!takes(0.3, &client) || takes(0.6, &client), "{n}");
        }
    }

    #[test]
    fn errors_are_always_taken() {
        let mut sampler = Sampler::new(0.0, 1);
        for error in [flow().failed(FailureReason::Refused), flow().closed(CloseReason::ServerReset)] {
            let error = observed(error);
            assert_eq!([0; 3].map(|_| sampler.choose(&error, Instant::now())), [Choice::Take; 3]);
        }
        assert_eq!(sampler.choose(&closed(1), Instant::now()), Choice::Leave);
    }

    #[test]
    fn a_link_has_so_many_in_a_second() {
        let mut sampler = Sampler::new(1.0, 3);
        let start = Instant::now();
        let mut choose = |flow: FlowBuilder, millis| {
            sampler.choose(&observed(flow.closed(CloseReason::Normal)), start + Duration::from_millis(millis))
        };
        let joined = || flow().joined();
        assert_eq!(choose(joined(), 0), Choice::Take);
        assert_eq!(choose(joined(), 10), Choice::TooMany, "it would be two more");
        assert_eq!([choose(flow(), 20), choose(flow(), 30)], [Choice::Take, Choice::TooMany]);
        assert_eq!(choose(flow().client("10.0.0.1:5"), 40), Choice::TooMany, "another port of the client");
        assert_eq!(choose(flow().server("10.0.0.2:81"), 50), Choice::Take, "another link");
        assert_eq!(choose(flow(), 1_000), Choice::Take);
    }

    #[test]
    fn links_without_number_share_a_bound() {
        let mut sampler = Sampler::new(1.0, 1);
        let now = Instant::now();
        let mut choose = |n: u32| {
            let client = format!("10.{}.{}.{}:1", n >> 16, n >> 8 & 255, n & 255);
            sampler.choose(&observed(flow().client(&client).closed(CloseReason::Normal)), now)
        };
        let n_links = u32::try_from(MAX_LINKS).unwrap();
        assert!((0..n_links).all(|n| choose(n) == Choice::Take));
        assert_eq!([choose(n_links), choose(n_links + 1)], [Choice::Take, Choice::TooMany]);
    }

    fn closed(n: u32) -> Observed {
        observed(flow().id(n).closed(CloseReason::Normal))
    }

    fn observed(flow: FlowBuilder) -> Observed {
        let flow = flow.build();
        let trace = TraceId::of_connection(flow.id.unwrap_or(ConnectionId::from_sequence_numbers(0, 0)));
        Observed::new(&flow, trace, 0)
    }
}
