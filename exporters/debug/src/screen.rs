//! The output, on a thread of its own.

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time,
};

/// Texts that may wait to be written.
const CAPACITY: usize = 16;

/// How long the end waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes text and writes it elsewhere: whoever calls never waits.
///
/// A terminal can be stopped and a pipe can be full for as long as somebody likes. Writing therefore happens on a thread
/// that nobody waits for longer than [`PATIENCE`]; the end of the process ends it.
#[derive(Debug)]
pub(crate) struct Screen {
    texts: mpsc::Sender<String>,
    done: oneshot::Receiver<()>,
}

/// Why a text was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotShown {
    /// The output does not take what came before.
    Slow,
    /// The output is closed, for good.
    Closed,
}

impl Screen {
    /// Starts writing to `out`.
    pub(crate) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (texts, mut queue) = mpsc::channel::<String>(CAPACITY);
        let (finished, done) = oneshot::channel();
        let write = move || {
            while let Some(text) = queue.blocking_recv() {
                if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                    break;
                }
            }
            // Tells whoever shows something that the output is closed.
            drop(queue);
            // Nobody waits any more if this fails.
            let _unawaited = finished.send(());
        };
        thread::Builder::new().name("debug-screen".to_owned()).spawn(write)?;
        Ok(Self { texts, done })
    }

    /// Hands over a text.
    pub(crate) fn show(&self, text: String) -> Result<(), NotShown> {
        self.texts.try_send(text).map_err(|err| match err {
            mpsc::error::TrySendError::Full(_) => NotShown::Slow,
            mpsc::error::TrySendError::Closed(_) => NotShown::Closed,
        })
    }

    /// Waits until everything is written, within reason.
    pub(crate) async fn finish(self) {
        let Self { texts, done } = self;
        drop(texts);
        // Late or failed, it makes no difference now.
        let _late = time::timeout(PATIENCE, done).await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex, mpsc::Receiver};

    use super::*;

    #[tokio::test]
    async fn what_is_shown_is_written_in_order() {
        let out = Shared::default();
        let screen = Screen::start(out.clone()).unwrap();
        for text in ["one\n", "two\n"] {
            screen.show(text.to_owned()).unwrap();
        }
        let begun = time::Instant::now();
        screen.finish().await;
        assert_eq!(out.text(), "one\ntwo\n");
        assert!(begun.elapsed() < PATIENCE, "the end was waited for in vain");
    }

    /// `ridley run | head` closes the pipe.
    #[tokio::test]
    async fn a_closed_output_is_noticed() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut screen = Screen::start(Closed).unwrap();
        screen.show("lost".to_owned()).unwrap();
        (&mut screen.done).await.unwrap();
        assert_eq!(screen.show("too late".to_owned()), Err(NotShown::Closed));
    }

    /// A stopped terminal stops the display, nothing else.
    #[tokio::test(start_paused = true)]
    async fn an_output_that_blocks_is_left_behind() {
        struct Stopped(Receiver<()>);
        impl Write for Stopped {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0.recv().map_or(Err(io::ErrorKind::BrokenPipe.into()), |()| Ok(0))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stopped) = std::sync::mpsc::channel();
        let screen = Screen::start(Stopped(stopped)).unwrap();
        // One more than fit may have been taken out of the queue already.
        let results: Vec<_> = (0..=CAPACITY + 1).map(|n| screen.show(n.to_string())).collect();
        assert_eq!(results[0], Ok(()));
        assert_eq!(results[CAPACITY + 1], Err(NotShown::Slow));
        screen.finish().await;
        drop(release);
    }

    /// An output that can be looked at.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
