use std::{mem, time::Duration};

use component::{BoxError, BoxFuture, Exporter, Input, Shutdown};
use model::{Batch, Metrics};
use tokio::time::{self, Instant};

use crate::{
    line::{line, listener_line},
    links::Links,
    metrics::Instruments,
    screen::Screen,
    table::{self, Layout},
};

/// How long to wait for more after the first metrics of a round: a round may take several batches.
const SETTLE: Duration = Duration::from_millis(100);

/// How long to wait for more before the first table: what was found at the start comes piece by piece.
const FIRST_SETTLE: Duration = Duration::from_millis(1_500);

/// Shown until there is something to show.
const WAITING: &str = "waiting for the first connections\n";

/// Returns columns and rows of the terminal, as they are now: its size changes.
pub(crate) type Size = fn() -> Option<(usize, usize)>;

/// What decides how tables are drawn.
#[derive(Debug)]
pub(crate) struct Display {
    pub(crate) interval: Duration,
    pub(crate) max_links: usize,
    pub(crate) redraw: bool,
    pub(crate) color: bool,
    pub(crate) size: Size,
}

/// Collects links and prints them.
#[derive(Debug)]
pub(crate) struct DebugExporter {
    display: Display,
    screen: Screen,
    instruments: Instruments,
    shutdown: Shutdown,
    links: Links,
    /// Lines of the table that the next one replaces.
    n_lines: usize,
    /// Whether metrics came that no table shows.
    pending: bool,
}

impl DebugExporter {
    pub(crate) fn new(
        display: Display,
        screen: Screen,
        instruments: Instruments,
        shutdown: Shutdown,
    ) -> Self {
        Self { display, screen, instruments, shutdown, links: Links::default(), n_lines: 0, pending: false }
    }

    async fn drive(mut self, mut input: Input) -> Result<(), BoxError> {
        if self.display.redraw {
            self.replace(WAITING);
        }
        let mut settle = FIRST_SETTLE.min(self.display.interval);
        let mut next_table = Instant::now();
        let mut due = None;
        loop {
            tokio::select! {
                batch = input.recv() => match batch {
                    Some(Batch::Metrics(metrics)) => {
                        self.take(&metrics);
                        let now = Instant::now();
                        if self.pending && due.is_none() && now >= next_table {
                            due = Some(now + mem::replace(&mut settle, SETTLE));
                            // Metrics come about once an interval, sometimes a little early.
                            next_table = now + self.display.interval * 9 / 10;
                        }
                    }
                    Some(Batch::Flows(flows)) => self.print(flows.records.iter().map(line)),
                    Some(Batch::Listeners(listeners)) => {
                        self.print(listeners.records.iter().filter_map(listener_line));
                    }
                    Some(other @ (Batch::Traces(_) | Batch::Logs(_))) => {
                        self.instruments.wrong_signal.add(other.n_items());
                    }
                    None => break,
                },
                () = sleep_until(due), if due.is_some() => {
                    due = None;
                    self.draw(self.shutdown.deadline().is_some());
                }
            }
        }
        if self.pending {
            self.draw(true);
        }
        self.screen.finish().await;
        Ok(())
    }

    fn take(&mut self, metrics: &Metrics) {
        let n_points = metrics.n_items();
        let Ok(data) = metrics.decode() else {
            self.instruments.malformed.add(n_points);
            return;
        };
        let ignored = self.links.push(&data);
        self.pending |= n_points > ignored.unknown;
        self.instruments.ignored(ignored);
    }

    /// Draws a table. At the end it is printed below on a terminal too: what stops the program is told there by others,
    /// so that the cursor may be anywhere.
    fn draw(&mut self, is_end: bool) {
        let size = (self.display.size)();
        let fitting = |(_, rows): (usize, usize)| {
            // Heading, titles, the last line of sums and the line that the cursor is in.
            rows.saturating_sub(4).max(1)
        };
        let room = if self.display.redraw { size.map_or(usize::MAX, fitting) } else { usize::MAX };
        let layout = Layout {
            width: size.map(|(columns, _)| columns),
            max_links: self.display.max_links.min(room),
            color: self.display.color,
        };
        let table = table::draw(self.links.look(), layout);
        self.pending = false;
        match (self.display.redraw, is_end) {
            (true, false) => self.replace(&table),
            (true, true) => self.instruments.table(self.screen.show(format!("\n{table}"))),
            (false, _) => self.instruments.table(self.screen.show(table + "\n")),
        }
    }

    /// Prints in place of what was printed last.
    fn replace(&mut self, text: &str) {
        // To the beginning of the line so many lines above, and nothing from there on.
        let erased =
            if self.n_lines > 0 { format!("\u{1b}[{}F\u{1b}[J", self.n_lines) } else { String::new() };
        let shown = self.screen.show(erased + text);
        if shown.is_ok() {
            self.n_lines = text.lines().count();
        }
        if text != WAITING {
            self.instruments.table(shown);
        }
    }

    fn print(&mut self, records: impl Iterator<Item = String>) {
        let mut lines = String::new();
        let mut n_records = 0;
        for line in records {
            lines += &line;
            lines.push('\n');
            n_records += 1;
        }
        if n_records == 0 {
            return;
        }
        self.instruments.lines(n_records, self.screen.show(lines));
        // What is above the lines stays.
        self.n_lines = 0;
    }
}

impl Exporter for DebugExporter {
    fn run(self: Box<Self>, input: Input) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input))
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        time::sleep_until(due).await;
    }
}

#[cfg(test)]
#[path = "exporter_tests.rs"]
mod tests;
