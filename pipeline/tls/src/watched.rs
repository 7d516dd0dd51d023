use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use component::{BoxError, Counter, ErrorChain, Telemetry};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::Files;

/// What is made of files, and made again when they have changed.
///
/// They are looked at when it is asked for, once in an interval at most, so that what nobody uses costs nothing. What cannot be
/// used leaves what there was: a certificate may be there before its key is.
pub struct Watched<T> {
    paths: Vec<PathBuf>,
    interval: Duration,
    make: Box<Make<T>>,
    state: Mutex<State<T>>,
    reloads: Counter,
    failures: Counter,
}

type Make<T> = dyn Fn(&Files) -> Result<T, BoxError> + Send + Sync;

struct State<T> {
    made: T,
    of: Files,
    next: Instant,
    is_failing: bool,
}

impl<T: Clone> Watched<T> {
    /// Reads files and makes something of them; `interval` is zero for files that are never read again.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or used.
    pub fn open(
        paths: Vec<PathBuf>,
        interval: Duration,
        telemetry: &Telemetry,
        make: impl Fn(&Files) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, BoxError> {
        let of = Files::read(paths.iter().map(PathBuf::as_path))?;
        let made = make(&of)?;
        let reloads = |result| {
            telemetry.counter(
                "ridley.file.reloads",
                "{reload}",
                "Times that files of certificates, keys and credentials had changed, or could not be read again.",
                &[("result", result)],
            )
        };
        Ok(Self {
            state: Mutex::new(State { made, of, next: Instant::now() + interval, is_failing: false }),
            reloads: reloads("used"),
            failures: reloads("failed"),
            make: Box::new(make),
            paths,
            interval,
        })
    }

    /// Returns what the files say now, or said last when they could be used.
    ///
    /// Reads them, if it is time: a few kilobytes of a local file system.
    pub fn current(&self) -> T {
        let mut state = self.lock();
        let now = Instant::now();
        if self.paths.is_empty() || self.interval.is_zero() || now < state.next {
            return state.made.clone();
        }
        // Others go on with what there is in the meantime.
        state.next = now + self.interval;
        drop(state);
        let files = Files::read(self.paths.iter().map(PathBuf::as_path));
        let mut state = self.lock();
        let made = match files {
            Ok(files) if files == state.of => {
                state.is_failing = false;
                return state.made.clone();
            }
            Ok(files) => (self.make)(&files).map(|made| (made, files)),
            Err(error) => Err(error.into()),
        };
        match made {
            Ok((made, files)) => {
                self.reloads.add(1);
                info!(files = %Names(&self.paths), "files have changed and are used as they are now");
                state.made = made;
                state.of = files;
                state.is_failing = false;
            }
            Err(error) => {
                self.failures.add(1);
                if !state.is_failing {
                    state.is_failing = true;
                    let error = ErrorChain(&*error);
                    warn!(%error, files = %Names(&self.paths), "files have changed and cannot be used; what they were before is used");
                }
            }
        }
        state.made.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // What is inside is replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.paths).finish()
    }
}

struct Names<'a>(&'a [PathBuf]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, path) in self.0.iter().enumerate() {
            let comma = if idx == 0 { "" } else { ", " };
            write!(f, "{comma}{}", Path::display(path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use component::{Kind, Registry};
    use tokio::time::advance;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// A broken file must not end what worked, and must be seen by whoever watches the counters.
    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_used_leaves_what_there_was() {
        let case = Case::new("one", INTERVAL);
        for (contents, expected, n_used, n_failed) in [
            ("one", "one", 0, 0),
            ("two", "two", 1, 0),
            ("", "two", 1, 1),
            ("", "two", 1, 2),
            ("two", "two", 1, 2),
            ("three", "three", 2, 2),
        ] {
            fs::write(&case.path, contents).unwrap();
            advance(INTERVAL).await;
            assert_eq!(case.watched.current(), expected, "{contents}");
            assert_eq!((case.watched.reloads.value(), case.watched.failures.value()), (n_used, n_failed));
        }
        fs::remove_file(&case.path).unwrap();
        advance(INTERVAL).await;
        assert_eq!((case.watched.current(), case.watched.failures.value()), ("three".to_owned(), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_looked_at_once_in_an_interval() {
        let case = Case::new("one", INTERVAL);
        fs::write(&case.path, "two").unwrap();
        advance(INTERVAL - Duration::from_millis(1)).await;
        assert_eq!(case.watched.current(), "one");
        advance(Duration::from_millis(1)).await;
        assert_eq!(case.watched.current(), "two");
        fs::write(&case.path, "three").unwrap();
        assert_eq!(case.watched.current(), "two");
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_never_read_again_if_so_wished() {
        let case = Case::new("one", Duration::ZERO);
        fs::write(&case.path, "two").unwrap();
        advance(Duration::from_hours(1)).await;
        assert_eq!(case.watched.current(), "one");
    }

    #[tokio::test]
    async fn a_file_that_is_missing_at_first_is_told() {
        let error = Case::open("/no/such/file".into(), INTERVAL).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /no/such/file");
        let error = Case::open("/dev/null".into(), INTERVAL).unwrap_err();
        assert_eq!(ErrorChain(&*error).to_string(), "cannot read /dev/null: it is no file");
    }

    struct Case {
        watched: Watched<String>,
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Case {
        fn new(contents: &str, interval: Duration) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            fs::write(&path, contents).unwrap();
            Self { watched: Self::open(path.clone(), interval).unwrap(), path, _folder: folder }
        }

        fn open(path: PathBuf, interval: Duration) -> Result<Watched<String>, BoxError> {
            let telemetry = Arc::new(Registry::default()).telemetry(Kind::Exporter, &"test".parse().unwrap());
            Watched::open(vec![path.clone()], interval, &telemetry, move |files| {
                let text = String::from_utf8_lossy(files.of(&path)).into_owned();
                if text.is_empty() { Err("it is empty".into()) } else { Ok(text) }
            })
        }
    }
}
