use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

/// Since when the API server does not answer what is asked of it, by path.
///
/// A watch that goes on quietly and one that cannot be begun again tell the same, which is nothing: only the answers to the
/// requests tell which it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<HashMap<String, Instant>>>);

impl Heard {
    /// Returns for how long what it tells least of has not been heard.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        let first = self.unheard().values().min().copied();
        first.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn note(&self, path: String, is_answered: bool, now: Instant) {
        let mut unheard = self.unheard();
        if is_answered {
            unheard.remove(&path);
        } else {
            unheard.entry(path).or_insert(now);
        }
    }

    fn unheard(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // Nobody panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Heard {
    type Service = Hearing<S>;

    fn layer(&self, inner: S) -> Hearing<S> {
        Hearing { inner, heard: self.clone() }
    }
}

/// Takes note of which requests are answered.
#[derive(Clone, Debug)]
pub(crate) struct Hearing<S> {
    inner: S,
    heard: Heard,
}

impl<S, In, Out> Service<Request<In>> for Hearing<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let (path, heard) = (request.uri().path().to_owned(), self.heard.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let is_answered = answer.as_ref().is_ok_and(|it| it.status().is_success());
            heard.note(path, is_answered, Instant::now());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is begun again by itself, and the one that cannot be for longest tells how old names may be.
    #[test]
    fn age_is_that_of_what_was_not_heard_for_longest() {
        let heard = Heard::default();
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let note = |path: &str, is_answered, secs| heard.note(path.to_owned(), is_answered, at(secs));
        assert_eq!(heard.age(at(0)), Duration::ZERO);
        note("/pods", false, 1);
        note("/nodes", false, 2);
        note("/pods", false, 3);
        assert_eq!(heard.age(at(5)), Duration::from_secs(4));
        note("/pods", true, 6);
        assert_eq!(heard.age(at(7)), Duration::from_secs(5));
        note("/nodes", true, 8);
        assert_eq!(heard.age(at(9)), Duration::ZERO);
    }
}
