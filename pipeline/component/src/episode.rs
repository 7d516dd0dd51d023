use std::time::{Duration, Instant};

/// A state that is worth a line in the log when it begins and when it is over, however often what makes it occurs.
///
/// It is over when nothing of the kind has occurred for some time, so that a limit that is just reached now and then
/// does not fill the log. Each occurrence belongs into a counter.
#[derive(Clone, Copy, Debug)]
pub struct Episode {
    quiet: Duration,
    last: Option<Instant>,
}

/// What became of an [`Episode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpisodeChange {
    /// It has just begun.
    Began,
    /// It is over.
    Ended,
}

impl Episode {
    /// Creates one that has not begun, and ends when `quiet` has passed without an occurrence.
    pub const fn new(quiet: Duration) -> Self {
        Self { quiet, last: None }
    }

    /// Notes whether it occurred since the last call. `now` never goes back.
    pub fn update(&mut self, occurred: bool, now: Instant) -> Option<EpisodeChange> {
        if occurred {
            return self.last.replace(now).is_none().then_some(EpisodeChange::Began);
        }
        self.last.take_if(|it| now.saturating_duration_since(*it) >= self.quiet)?;
        Some(EpisodeChange::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_once_and_ends_after_some_quiet() {
        let mut episode = Episode::new(Duration::from_secs(10));
        let start = Instant::now();
        for (seconds, occurred, expected) in [
            (0, false, None),
            (1, true, Some(EpisodeChange::Began)),
            (2, true, None),
            (3, false, None),
            (11, true, None),
            (20, false, None),
            (21, false, Some(EpisodeChange::Ended)),
            (22, false, None),
            (90, true, Some(EpisodeChange::Began)),
        ] {
            let change = episode.update(occurred, start + Duration::from_secs(seconds));
            assert_eq!(change, expected, "after {seconds} s");
        }
    }
}
