//! The truth about a case at a moment when nothing moves.

use std::time::Duration;

use crate::{
    edges::{Edges, Interest, Totals},
    world::Route,
};

/// What is true at a moment when nothing moves.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Where the peers are.
    pub route: Route,
    /// Which edges belong to the case.
    pub interest: Interest,
    /// Those edges with what a correct observer has counted since before the first connection.
    pub edges: Edges,
    /// How long the client's calls to connect took in all, which is no less than the handshakes.
    pub connecting: Duration,
    /// The least and the most that the connections can have lived in all, by the peers' clock, if all are over and it can be told.
    pub lifetimes: Option<(Duration, Duration)>,
    /// What the peers cannot know to the byte.
    pub latitude: Option<Latitude>,
}

/// Of a connection whose peer was killed only the kernel knows what was under way: the [`Moment`] has the most, this the
/// least that can be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latitude {
    /// Bytes from client to server.
    pub request: u64,
    /// Bytes from server to client.
    pub response: u64,
    /// How the connection may end.
    pub reasons: [&'static str; 2],
}

impl Moment {
    /// Returns the totals of the case's one edge, or of both that a proxy makes of it.
    pub fn truth(&self) -> &Totals {
        self.edges.0.values().next().expect("a case has an edge")
    }

    /// Returns what an observer that began at an earlier moment must have counted. How long the connections lived that it saw from
    /// the beginning is not told apart.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.truth();
        let latitude = self.latitude.map(|it| Latitude {
            request: it.request - before.request,
            response: it.response - before.response,
            ..it
        });
        Self {
            edges: self.edges.since(&earlier.edges),
            connecting: self.connecting - earlier.connecting,
            lifetimes: None,
            latitude,
            ..self.clone()
        }
    }

    /// Compares what was found with what must be.
    ///
    /// # Errors
    ///
    /// Says for each edge what is missing, unexpected, or different.
    pub fn compare(&self, found: &Edges) -> anyhow::Result<()> {
        let Some(latitude) = self.latitude else { return self.edges.compare(found) };
        let mut nearest = self.edges.clone();
        for (edge, totals) in &mut nearest.0 {
            let Some(found) = found.0.get(edge) else { continue };
            totals.request = found.request.clamp(latitude.request, totals.request);
            totals.response = found.response.clamp(latitude.response, totals.response);
            if latitude.reasons.iter().any(|it| found.closed.keys().eq([it])) {
                let n = totals.closed.values().sum();
                totals.closed = found.closed.keys().map(|reason| (reason.clone(), n)).collect();
            }
        }
        nearest.compare(found)
    }
}
