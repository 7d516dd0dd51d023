use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant as TokioInstant,
};

/// How long nothing must have come from a client to take it for one that wants nothing at present.
const IDLE: Duration = Duration::from_secs(1);

/// A client's connection, with a watch on whether it gets anywhere.
#[derive(Debug)]
pub(crate) struct WatchedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
}

/// When a client last sent or took anything.
#[derive(Debug)]
pub(crate) struct Activity {
    last: Mutex<Instant>,
    /// Whether the client has yet to take what was answered.
    is_blocked: AtomicBool,
}

/// How little is lost if a connection is closed; the least is the first to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Worth {
    is_in_use: bool,
    last: Instant,
}

impl WatchedStream {
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<Activity>) {
        let activity = Arc::new(Activity { last: Mutex::new(now()), is_blocked: AtomicBool::new(false) });
        (Self { stream, activity: Arc::clone(&activity) }, activity)
    }
}

impl Activity {
    /// Returns whether the client has yet to take what was answered.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// Returns what closing the connection at `now` would cost, for comparison.
    ///
    /// Who sends no request for a while comes first: who sends one finds the connection closed, and makes another. Then
    /// whoever has sent and taken nothing for longest.
    pub(crate) fn worth(&self, now: Instant) -> Worth {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Answers are rendered at once, so who is not blocked and silent has asked for nothing.
        Worth { is_in_use: self.is_blocked() || now.saturating_duration_since(last) < IDLE, last }
    }

    fn note(&self, result: &Poll<io::Result<usize>>) {
        if matches!(result, Poll::Ready(Ok(n)) if *n > 0) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = now();
        }
    }

    fn note_write(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.note(&result);
        self.is_blocked.store(result.is_pending(), Ordering::Relaxed);
        result
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let n_read = buffer.filled().len() - before;
        self.activity.note(&Poll::Ready(Ok(n_read)));
        result
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.note_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.note_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

pub(crate) fn now() -> Instant {
    TokioInstant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since the client sent or took anything, and whether it has yet to take the answer; first to go first.
    #[test]
    fn the_idle_go_first_and_then_the_longest_stalled() {
        let start = now();
        let at = start + Duration::from_secs(100);
        let mut worths: Vec<_> = [(30, true), (0, false), (2, false), (60, true), (5, false), (0, true)]
            .map(|(seconds, is_blocked)| {
                let last = Mutex::new(at.checked_sub(Duration::from_secs(seconds)).unwrap());
                let activity = Activity { last, is_blocked: AtomicBool::new(is_blocked) };
                (activity.worth(at), (seconds, is_blocked))
            })
            .to_vec();
        worths.sort_by_key(|(worth, _)| *worth);
        let order: Vec<_> = worths.into_iter().map(|(_, client)| client).collect();
        assert_eq!(order, [(5, false), (2, false), (60, true), (30, true), (0, false), (0, true)]);
    }
}
