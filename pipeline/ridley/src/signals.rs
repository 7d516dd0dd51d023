use std::{io, process};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask the program to stop.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Takes the signals over: from now on they no longer end the process by themselves.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal. Cancel-safe.
    pub(crate) async fn requested(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }

    /// Waits for a signal, and ends the process with the exit code that shells give to those it kills.
    pub(crate) async fn exit_at_next(&mut self) -> ! {
        let kind = self.requested().await;
        process::exit(128 + kind.as_raw_value());
    }
}
