//! The program as its users meet it: arguments in, text, exit code and effects out.

#![expect(clippy::unwrap_used, reason = "what cannot be done fails the test")]

mod configs;
mod deploy;
mod golden;
mod life;
mod program;
