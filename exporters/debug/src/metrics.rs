use component::{Counter, Telemetry};
use model::Signal;

use crate::{links::Ignored, screen::NotShown};

/// What the exporter tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    unknown: Counter,
    over_budget: Counter,
    pub(crate) malformed: Counter,
    pub(crate) wrong_signal: Counter,
    slow: Counter,
    closed: Counter,
    tables: Counter,
    skipped_tables: Counter,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            unknown: telemetry.dropped(Signal::Metrics, "not_a_link"),
            over_budget: telemetry.dropped(Signal::Metrics, "too_many_links"),
            malformed: telemetry.dropped(Signal::Metrics, "malformed"),
            wrong_signal: telemetry.dropped(Signal::Metrics, "wrong_signal"),
            slow: telemetry.dropped(Signal::Flows, "output_slow"),
            closed: telemetry.dropped(Signal::Flows, "output_closed"),
            tables: telemetry.counter("ridley.debug.tables", "{table}", "Tables printed.", &[]),
            skipped_tables: telemetry.counter(
                "ridley.debug.skipped.tables",
                "{table}",
                "Tables that the output did not take.",
                &[],
            ),
        }
    }

    pub(crate) fn ignored(&self, ignored: Ignored) {
        let Ignored { unknown, over_budget } = ignored;
        self.unknown.add(unknown);
        self.over_budget.add(over_budget);
    }

    pub(crate) fn table(&self, shown: Result<(), NotShown>) {
        match shown {
            Ok(()) => self.tables.add(1),
            Err(NotShown::Slow | NotShown::Closed) => self.skipped_tables.add(1),
        }
    }

    pub(crate) fn lines(&self, n_lines: u64, shown: Result<(), NotShown>) {
        match shown {
            Ok(()) => {}
            Err(NotShown::Slow) => self.slow.add(n_lines),
            Err(NotShown::Closed) => self.closed.add(n_lines),
        }
    }
}
