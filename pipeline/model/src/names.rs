use std::sync::Arc;

use crate::{ConnectionMap, Entity, Flow};

/// What the two ends of a connection are called.
#[derive(Clone, Debug)]
pub struct Names {
    /// Of the end that opened it.
    pub client: Arc<Entity>,
    /// Of the end that accepted it.
    pub server: Arc<Entity>,
}

/// The names of connections, each fixed when it is first seen, bounded.
///
/// Whatever becomes of an address, a connection keeps its names until its end. When there are too many the oldest is
/// forgotten, and named anew if it goes on.
#[derive(Debug)]
pub struct FixedNames {
    connections: ConnectionMap<Names>,
    forgotten: u64,
}

impl FixedNames {
    /// Remembers the names of so many connections at most.
    pub fn new(max_connections: usize) -> Self {
        Self { connections: ConnectionMap::new(max_connections), forgotten: 0 }
    }

    /// Gives the ends of a record their names, but those that have one: the connection's if it has been seen before, else
    /// those that `make` gives.
    ///
    /// # Errors
    ///
    /// Those of `make`; then nothing is named.
    pub fn name<E>(
        &mut self,
        flow: &mut Flow,
        make: impl FnOnce(&Flow) -> Result<Names, E>,
    ) -> Result<(), E> {
        let known = flow.id.and_then(|id| self.connections.get_mut(id, flow.observer)).cloned();
        let is_new = known.is_none();
        let Names { client, server } = match known {
            Some(known) => known,
            None => make(flow)?,
        };
        let client = flow.client.entity.get_or_insert(client);
        let server = flow.server.entity.get_or_insert(server);
        // Attempts that failed carry no id, and leave nothing behind.
        let Some(id) = flow.id else { return Ok(()) };
        if flow.end.is_some() {
            self.connections.remove(id, flow.observer);
        } else if is_new {
            let names = Names { client: Arc::clone(client), server: Arc::clone(server) };
            let full = self.connections.insert(id, flow.observer, names);
            self.forgotten += u64::from(full.is_some());
        }
        Ok(())
    }

    /// Returns how many connections' names are remembered.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Returns whether no connection's names are remembered.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Returns how many connections were forgotten before their end since the last call.
    pub fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }
}
