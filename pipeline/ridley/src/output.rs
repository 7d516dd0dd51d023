//! What the commands print. A reader that goes away (`ridley components | head -1`) is not an error.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use component::ErrorChain;

/// Prints a line to standard output.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    unless_unread(writeln!(io::stdout().lock(), "{text}"))
}

/// Prints a line to standard error.
pub(crate) fn note(text: impl Display) -> io::Result<()> {
    unless_unread(writeln!(io::stderr().lock(), "{text}"))
}

/// Prints what went wrong, with its causes, to standard error.
pub(crate) fn error(err: &anyhow::Error) {
    // There is nobody left to tell if this fails.
    drop(note(format_args!("error: {}", ErrorChain(err.as_ref()))));
}

fn unless_unread(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
