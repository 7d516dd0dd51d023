use std::{fs, future, io, process};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask the program to stop.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// Absent if whoever started the program wants it to live on when the terminal closes, as `nohup` does.
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Takes the signals over: from now on they no longer end the process by themselves.
    pub(crate) fn install() -> io::Result<Self> {
        let hangup =
            if is_ignored(SignalKind::hangup())? { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for a signal. Cancel-safe.
    pub(crate) async fn requested(&mut self) -> SignalKind {
        let Self { interrupt, terminate, hangup } = self;
        let hung_up = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hung_up => SignalKind::hangup(),
        }
    }

    /// Waits for a signal, and ends the process with the exit code that shells give to those it kills.
    pub(crate) async fn exit_at_next(&mut self) -> ! {
        let kind = self.requested().await;
        process::exit(128 + kind.as_raw_value());
    }
}

/// Returns whether the process was started to ignore a signal.
fn is_ignored(kind: SignalKind) -> io::Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|it| it.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0);
    // The lowest bit is that of signal 1.
    Ok(mask >> (kind.as_raw_value() - 1) & 1 == 1)
}
