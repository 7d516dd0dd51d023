//! Ids of traces and spans, which whoever observes an end of a connection computes alone.
//!
//! They are part of what this project promises: agents of different versions must agree.

use std::net::IpAddr;

use crate::{ConnectionId, Flow, Observer, id::mix};

/// The fraction of the golden ratio: keeps the id zero, which OpenTelemetry has no trace for, from being mixed to zero.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Id of a trace: as OTLP has it, and never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Id of a span: as OTLP has it, and never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// Returns the trace of a connection: the connection's own sixteen digits, and behind them sixteen that are mixed of them,
    /// for there are samplers that take the second half for random.
    pub const fn of_connection(id: ConnectionId) -> Self {
        Self::of_halves(id.number(), mix(id.number().wrapping_add(GOLDEN)))
    }

    /// Returns the trace of an attempt that failed, which only the client's end reports: of what its record says of where and when.
    pub fn of_attempt(flow: &Flow) -> Self {
        let mut state = GOLDEN;
        let mut add = |number: u64| state = mix(state.wrapping_add(number)).wrapping_add(GOLDEN);
        for end in [&flow.client, &flow.server] {
            let address = match end.address {
                IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                IpAddr::V6(address) => address.to_bits(),
            };
            add((address >> 64) as u64);
            add(low_half(address));
            add(end.port.into());
        }
        for number in [flow.local.netns.into(), flow.interval.start.0, flow.interval.end.0] {
            add(number);
        }
        // Mixed once more than the second half of a connection's, so that it is none.
        Self::of_halves(state, mix(mix(state).wrapping_add(GOLDEN)))
    }

    /// Returns the connection that a trace is of, if it is one's.
    pub fn connection(bytes: &[u8]) -> Option<ConnectionId> {
        let (first, _) = bytes.split_first_chunk::<8>()?;
        let id = ConnectionId::of_number(u64::from_be_bytes(*first));
        (Self::of_connection(id).0 == bytes).then_some(id)
    }

    /// Returns the bytes.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Returns a number that is spread evenly over traces, for whoever takes a part of them: the second half.
    pub const fn spread(self) -> u64 {
        low_half(u128::from_be_bytes(self.0))
    }

    /// Returns the span of one end in one period of time.
    pub const fn span(self, observer: Observer, period: u64) -> SpanId {
        let role = match observer {
            Observer::Client => 0,
            Observer::Server => 1,
        };
        let number = mix(self.spread().wrapping_add(period.wrapping_mul(2).wrapping_add(role)));
        SpanId(if number == 0 { GOLDEN } else { number }.to_be_bytes())
    }

    const fn of_halves(first: u64, second: u64) -> Self {
        Self(((first as u128) << 64 | second as u128).to_be_bytes())
    }
}

impl SpanId {
    /// Returns the bytes.
    pub const fn bytes(self) -> [u8; 8] {
        self.0
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the other half is left out")]
const fn low_half(number: u128) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Agents of different versions are at the two ends of a connection: these values never change.
    #[test]
    fn ids_stay_what_they_are() {
        let trace = TraceId::of_connection("0123456789abcdef".parse().unwrap());
        assert_eq!(hex(&trace.bytes()), "0123456789abcdef10fb162319e1a485");
        let spans = [(Observer::Client, 0), (Observer::Server, 0), (Observer::Client, 1)];
        let spans = spans.map(|(observer, period)| hex(&trace.span(observer, period).bytes()));
        assert_eq!(spans, ["66c18e60bf75b893", "f4a2a329fd103202", "84413cea60f77b1c"]);
    }

    /// Zero is how OpenTelemetry writes that there is none.
    #[test]
    fn no_connection_has_the_trace_zero() {
        assert_ne!(TraceId::of_connection(ConnectionId::of_number(0)).spread(), 0);
    }

    #[test]
    fn what_is_no_trace_of_a_connection_is_told() {
        let trace = TraceId::of_connection(ConnectionId::from_sequence_numbers(1, 2)).bytes();
        assert_eq!(TraceId::connection(&trace), Some(ConnectionId::from_sequence_numbers(1, 2)));
        let mut other = trace;
        other[15] ^= 1;
        for bytes in [&[][..], &trace[..8], &other] {
            assert_eq!(TraceId::connection(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        /// Both ends in every period have spans of their own.
        #[test]
        fn spans_of_a_trace_differ(id: u64, period in 0..u64::MAX / 2, later in 1..1_000_000_u64) {
            let trace = TraceId::of_connection(ConnectionId::of_number(id));
            let span = |observer, period| trace.span(observer, period);
            let spans = [Observer::Client, Observer::Server].map(|it| [span(it, period), span(it, period + later)]);
            let spans = spans.concat();
            for (n, span) in spans.iter().enumerate() {
                prop_assert!(!spans[..n].contains(span), "{:?}", spans);
            }
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|it| format!("{it:02x}")).collect()
    }
}
