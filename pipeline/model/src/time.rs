use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch, as OTLP writes points in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// Returns the time that passed since `earlier`, or zero if it is not earlier.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for UnixNanos {
    /// Times before 1970 become 1970, times after 2554 become 2554.
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The span of time that a record's deltas cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// When the previous record of this connection was made, or when the connection was first seen.
    pub start: UnixNanos,
    /// When this record was made.
    pub end: UnixNanos,
}

/// Writes a [`Duration`] as a number of nanoseconds, like the points in time beside it. Longer than 584 years is 584.
pub(crate) mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

/// [`nanos`] for a duration that may be absent.
pub(crate) mod optional_nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(it: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match it {
            Some(duration) => super::nanos::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rtt;

    /// The form is part of the record format that the file exporter documents.
    #[test]
    fn durations_are_written_as_nanoseconds() {
        let rtt = Rtt { smoothed: Duration::from_micros(50), min: Duration::from_secs(1) };
        let text = serde_json::to_string(&rtt).unwrap();
        assert_eq!(text, r#"{"smoothed":50000,"min":1000000000}"#);
        assert_eq!(serde_json::from_str::<Rtt>(&text).unwrap(), rtt);
    }
}
