use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use foldhash::fast::RandomState;
use model::{Entity, Flow, Listener};

/// Most listening sockets that are remembered: more than the `ebpf` receiver follows.
const MAX_SOCKETS: usize = 1 << 14;

/// Who listens where on this host, as far as it was told.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    /// By network namespace, address and port.
    servers: HashMap<(u32, IpAddr, u16), Arc<Entity>, RandomState>,
}

impl Listening {
    /// Takes note of a listening socket that has a name. One that nobody can connect to listens no more.
    pub(crate) fn note(&mut self, listener: &Listener) {
        let Listener { server, local, queue_limit, .. } = listener;
        let key = (local.netns, server.address, server.port);
        match &server.entity {
            Some(entity) if *queue_limit > 0 => {
                if self.servers.len() < MAX_SOCKETS || self.servers.contains_key(&key) {
                    self.servers.insert(key, Arc::clone(entity));
                }
            }
            _ => drop(self.servers.remove(&key)),
        }
    }

    /// Returns who listens where a client connects to, if that is the client's own host.
    pub(crate) fn behind(&self, flow: &Flow) -> Option<Arc<Entity>> {
        let Flow { client, server, local, .. } = flow;
        if !server.address.is_loopback() && server.address != client.address {
            return None;
        }
        let every = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let mut addresses = [server.address].into_iter().chain(every);
        addresses.find_map(|it| self.servers.get(&(local.netns, it, server.port))).cloned()
    }
}
