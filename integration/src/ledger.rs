//! Numbered items, and what became of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{agent::Agent, backend::Taken, poll};

/// How long a sender waits for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends numbered items to an agent by OTLP over HTTP, each in a request of its own, and notes what it said.
#[derive(Debug)]
pub struct Ledger {
    client: ureq::Agent,
    url: String,
    next: u64,
    /// Those of which the agent said that it has taken them.
    pub taken: BTreeSet<u64>,
    /// Those of which it said that it has not.
    pub refused: BTreeSet<u64>,
    /// Those of which it said nothing.
    pub unanswered: BTreeSet<u64>,
}

impl Ledger {
    /// Begins an empty one.
    pub fn new(to: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
        Self {
            client: config.build().into(),
            url: format!("http://{to}/v1/logs"),
            next: 0,
            taken: BTreeSet::new(),
            refused: BTreeSet::new(),
            unanswered: BTreeSet::new(),
        }
    }

    /// Sends the next item, of so many bytes beside its number. Returns whether it was answered.
    pub fn send(&mut self, n_bytes: usize) -> bool {
        let n = self.next;
        self.next += 1;
        let call = self.client.post(&self.url).header("Content-Type", "application/x-protobuf");
        let set = match call.send(numbered(n, n_bytes)) {
            Ok(answer) if answer.status().is_success() => &mut self.taken,
            Ok(_) => &mut self.refused,
            Err(_) => &mut self.unanswered,
        };
        set.insert(n);
        !self.unanswered.contains(&n)
    }

    /// Sends so many.
    pub fn send_all(&mut self, n: usize, n_bytes: usize) {
        for _ in 0..n {
            self.send(n_bytes);
        }
    }

    /// Waits until the server has everything that the agent has taken, but for those `dropped`. Returns how often any came more
    /// than once.
    ///
    /// # Errors
    ///
    /// Something is missing, or came that was not sent.
    pub fn settle(
        &self,
        agent: &Agent,
        arrived: &Taken,
        dropped: &BTreeSet<u64>,
        limit: Duration,
    ) -> anyhow::Result<usize> {
        let expected: BTreeSet<u64> = self.taken.difference(dropped).copied().collect();
        poll::until(limit, || {
            let counts = counts(arrived);
            let missing: Vec<_> = expected.iter().filter(|it| !counts.contains_key(it)).collect();
            ensure!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), expected.len());
            let strange: Vec<_> =
                counts.keys().filter(|it| **it >= self.next || dropped.contains(it)).collect();
            ensure!(strange.is_empty(), "nobody sent {strange:?}, or they were dropped");
            Ok(counts.values().map(|n| n - 1).sum())
        })
        .with_context(|| format!("the agent said:\n{}", agent.log()))
    }
}

/// Returns how often each number came.
pub fn counts(arrived: &Taken) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for n in arrived.lock().expect("nobody panics while appending").iter() {
        *counts.entry(*n).or_insert(0) += 1;
    }
    counts
}

/// Sums a metric of the agent's own, with what is in a label.
///
/// # Errors
///
/// It cannot be scraped.
pub fn sum(agent: &Agent, metric: &str, label: &str, value: &str) -> anyhow::Result<u64> {
    let scrape = agent.scrape()?;
    let series = scrape.series(metric).filter(|(labels, _)| labels.get(label).is_some_and(|it| it == value));
    let total: f64 = series.map(|(_, value)| value).sum();
    ensure!(total >= 0.0 && total.fract() == 0.0, "{metric} is {total}");
    Ok(format!("{total}").parse()?)
}

/// Fields from a request of log records to their bodies.
const PATH: [u64; 5] = [1, 2, 2, 5, 1];

/// Makes a request with one log record, whose body is a number and so many blanks.
fn numbered(n: u64, n_bytes: usize) -> Vec<u8> {
    let body = n.to_string() + &" ".repeat(n_bytes);
    PATH.iter().rev().fold(body.into_bytes(), |inside, number| {
        let mut message = vec![u8::try_from(number << 3 | 2).expect("fields have small numbers")];
        let mut len = inside.len();
        while len > 0x7f {
            message.push(u8::try_from(len & 0x7f).expect("it is masked") | 0x80);
            len >>= 7;
        }
        message.push(u8::try_from(len).expect("it is small now"));
        message.extend(inside);
        message
    })
}

/// Returns the numbers in a request of log records as [`Ledger`] sends them; none if it is another.
#[must_use]
pub fn numbers_of(request: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    walk(request, &PATH, &mut numbers);
    numbers
}

fn walk(mut message: &[u8], path: &[u64], numbers: &mut Vec<u64>) {
    let Some((field, path)) = path.split_first() else {
        numbers.extend(std::str::from_utf8(message).ok().and_then(|it| it.trim().parse::<u64>().ok()));
        return;
    };
    while let Some((key, rest)) = varint(message)
        && let Some((len, rest)) = varint(rest)
        && let Some((inside, rest)) = usize::try_from(len).ok().and_then(|it| rest.split_at_checked(it))
    {
        if key == field << 3 | 2 {
            walk(inside, path, numbers);
        }
        message = rest;
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = bytes.iter().take(10).position(|it| it & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(len);
    let value = number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_sent() {
        let request = [numbered(7, 0), numbered(123_456, 200), numbered(8, 70_000)].concat();
        assert_eq!(numbers_of(&request), [7, 123_456, 8]);
        assert_eq!(numbers_of(b"not a message"), [0_u64; 0]);
    }
}
