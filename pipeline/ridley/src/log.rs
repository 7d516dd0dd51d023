use std::{io, panic};

use tracing::{error, level_filters::LevelFilter};

use crate::cli::{LogFormat, LogLevel, Options};

/// Sends log lines to standard error, and panics into the log.
pub(crate) fn init(options: &Options) {
    let level = match options.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        // Where in the code a line comes from is of no use to whoever runs the program.
        .with_target(level >= LevelFilter::DEBUG)
        .with_ansi(false)
        // A line that cannot be written would be told with `eprintln`, which panics, and a panic is a line to be written.
        .log_internal_errors(false);
    match options.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        error!(message, location, "panic: this is a bug");
    }));
}
