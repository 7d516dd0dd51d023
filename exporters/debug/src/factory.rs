use std::io::{self, IsTerminal};

use component::{BoxError, Context, Exporter, Factory, Stability};
use model::Signal;
use tokio::task;

use crate::{
    Config,
    exporter::{DebugExporter, Display},
    metrics::Instruments,
    screen::Screen,
};

/// Makes `debug` exporters.
pub fn factory() -> Factory {
    Factory::exporter("debug", &[Signal::Flows, Signal::Metrics], create)
        .with_summary("prints a live table of links, and flow records as lines")
        .with_stability(Stability::Beta)
}

/// The writing thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread that writes to the terminal")]
struct StartError(#[source] io::Error);

async fn create(config: Config, context: Context) -> Result<Box<dyn Exporter>, BoxError> {
    let Config { interval, max_links, redraw, color } = config;
    let is_terminal = io::stdout().is_terminal();
    // https://no-color.org: any value but the empty one.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|it| it == "dumb");
    let display = Display {
        interval,
        max_links: max_links.get(),
        redraw: redraw.decide(is_terminal && !is_dumb),
        color: color.decide(is_terminal && !is_dumb && !no_color),
        size,
    };
    // A thread has the privileges of the one that starts it, and those of the runtime have no more than running needs.
    let screen = task::spawn_blocking(|| Screen::start(io::stdout())).await?.map_err(StartError)?;
    let instruments = Instruments::new(&context.telemetry);
    Ok(Box::new(DebugExporter::new(display, screen, instruments, context.shutdown)))
}

/// Returns columns and rows of the terminal; `None` if the output is none, or does not know.
fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
}
