//! Writes to the API server as its controllers do.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use ureq::{
    Agent, RequestExt,
    http::{Method, Request},
};

const LIMIT: Duration = Duration::from_secs(60);

/// A client of an API server behind `kubectl proxy`, which speaks for the administrator.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    client: Agent,
    url: String,
}

impl Writer {
    pub(crate) fn new(url: String) -> Self {
        Self { client: Agent::config_builder().timeout_global(Some(LIMIT)).build().into(), url }
    }

    /// Returns what is at a path.
    ///
    /// # Errors
    ///
    /// The server refuses it, or does not answer; so with all others.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::GET, path, None)
    }

    /// Creates an object, and returns it as the server has it.
    pub(crate) fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.request(Method::POST, path, Some(object))
    }

    /// Sets an object, or its status if the path says so.
    pub(crate) fn replace(&self, path: &str, object: &Value) -> anyhow::Result<()> {
        self.request(Method::PUT, path, Some(object)).map(drop)
    }

    /// Deletes an object at once.
    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.request(Method::DELETE, &format!("{path}?gracePeriodSeconds=0"), None).map(drop)
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let what = format!("{method} {path}");
        let request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        let request = request.header("Content-Type", "application/json");
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(text)?.with_agent(&self.client);
        let mut answer = request.configure().http_status_as_error(false).run().context(what.clone())?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string().context(what.clone())?;
        ensure!(status.is_success(), "{what}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{what}: the answer is no JSON"))
    }
}
