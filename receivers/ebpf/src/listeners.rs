use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use component::Counter;
use foldhash::fast::RandomState;
use model::Process;

/// More listening sockets than a node has. The oldest makes room: one whose end was not recorded would stay for ever.
const MAX_LISTENERS: usize = 1 << 14;

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Inode number of the network namespace.
    pub(crate) netns: u32,
    /// Where it listens, IPv4 never as IPv6; unspecified for every address.
    pub(crate) address: IpAddr,
    /// Where it listens.
    pub(crate) port: u16,
    /// Inode number of the socket, which tells sockets of one address apart.
    pub(crate) inode: u64,
    /// Who called `listen`.
    pub(crate) process: Process,
}

/// A network namespace, and a port in it.
type Port = (u32, u16);

/// Who listens where: an accepted socket does not tell its process, its listener did.
#[derive(Debug)]
pub(crate) struct Listeners {
    // Each with its number, in the order in which they came.
    by_port: HashMap<Port, Vec<(u64, Listener)>, RandomState>,
    len: usize,
    // Numbers of all, and of some that are gone already.
    order: VecDeque<(u64, Port)>,
    next_number: u64,
    forgotten: Counter,
}

impl Listeners {
    /// Remembers nobody yet; `forgotten` counts those that make room.
    pub(crate) fn new(forgotten: Counter) -> Self {
        Self { by_port: HashMap::default(), len: 0, order: VecDeque::new(), next_number: 0, forgotten }
    }

    /// Remembers a listener; one that is known by its inode is replaced.
    pub(crate) fn insert(&mut self, listener: Listener) {
        self.remove(listener.netns, listener.port, listener.inode);
        let (number, port) = (self.next_number, (listener.netns, listener.port));
        self.next_number += 1;
        self.len += 1;
        self.order.push_back((number, port));
        self.by_port.entry(port).or_default().push((number, listener));
        while self.len > MAX_LISTENERS
            && let Some((oldest, port)) = self.order.pop_front()
        {
            let n_removed = self.remove_if(port, |number, _| number == oldest);
            self.forgotten.add(n_removed);
        }
        if self.order.len() > 2 * MAX_LISTENERS {
            let Self { by_port, order, .. } = self;
            order.retain(|(number, port)| {
                by_port.get(port).is_some_and(|listeners| listeners.iter().any(|it| it.0 == *number))
            });
        }
    }

    /// Forgets a listener.
    pub(crate) fn remove(&mut self, netns: u32, port: u16, inode: u64) {
        self.remove_if((netns, port), |_, it| it.inode == inode);
    }

    /// Forgets listeners at a port, and returns how many.
    fn remove_if(&mut self, port: Port, is_over: impl Fn(u64, &Listener) -> bool) -> u64 {
        let Some(listeners) = self.by_port.get_mut(&port) else { return 0 };
        let before = listeners.len();
        listeners.retain(|(number, it)| !is_over(*number, it));
        let n_removed = before - listeners.len();
        if listeners.is_empty() {
            self.by_port.remove(&port);
        }
        self.len -= n_removed;
        n_removed as u64
    }

    /// Returns whose a socket is, if that is known.
    pub(crate) fn of_inode(&self, netns: u32, port: u16, inode: u64) -> Option<&Listener> {
        let found = self.by_port.get(&(netns, port))?.iter().find(|(_, it)| it.inode == inode);
        found.map(|(_, listener)| listener)
    }

    /// Returns who accepts connections to an address: the one that listens on it, else one that listens on all.
    ///
    /// Of several (`SO_REUSEPORT`) the one that came last: whose socket it was does not show.
    pub(crate) fn find(&self, netns: u32, address: IpAddr, port: u16) -> Option<&Listener> {
        let listeners = self.by_port.get(&(netns, port))?;
        let all = match address {
            IpAddr::V4(_) => [address, Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            IpAddr::V6(_) => [address, Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        };
        all.iter().find_map(|wanted| listeners.iter().map(|it| &it.1).rev().find(|it| it.address == *wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_of_the_very_address_is_preferred() {
        let listeners = listeners(&[("0.0.0.0", 1), ("10.0.0.1", 2), ("::", 3)]);
        check(&listeners, "10.0.0.1", Some(2));
        check(&listeners, "10.0.0.2", Some(1));
        check(&listeners, "2001:db8::1", Some(3));
    }

    /// A socket that listens on `::` accepts IPv4 too, unless it was told not to; then none of its own would arrive.
    #[test]
    fn a_listener_on_all_of_ipv6_accepts_ipv4() {
        check(&listeners(&[("::", 3)]), "10.0.0.2", Some(3));
        check(&listeners(&[("0.0.0.0", 1)]), "2001:db8::1", None);
    }

    /// A restarted server may listen before the old one's end is known.
    #[test]
    fn the_newest_of_equals_is_preferred() {
        let mut listeners = listeners(&[("0.0.0.0", 1), ("0.0.0.0", 2)]);
        check(&listeners, "10.0.0.1", Some(2));
        listeners.remove(4, 80, 2);
        check(&listeners, "10.0.0.1", Some(1));
        listeners.remove(4, 80, 1);
        check(&listeners, "10.0.0.1", None);
        assert_eq!((listeners.len, listeners.by_port.len()), (0, 0));
    }

    /// Their ends were not recorded; who listens now is known all the same.
    #[test]
    fn the_oldest_makes_room_and_is_counted() {
        let mut listeners = Listeners::new(Counter::default());
        listeners.insert(listener("10.0.0.1", 0));
        listeners.insert(listener("10.0.0.2", 1));
        // It listens anew.
        listeners.insert(listener("10.0.0.1", 0));
        let port = |n: u64| u16::try_from(n / 4).unwrap() + 1_000;
        for n in 2..=MAX_LISTENERS as u64 {
            listeners.insert(Listener { port: port(n), ..listener("0.0.0.0", n) });
        }
        check(&listeners, "10.0.0.1", Some(0));
        check(&listeners, "10.0.0.2", None);
        assert_eq!((listeners.len, listeners.forgotten.value()), (MAX_LISTENERS, 1));
    }

    /// Listeners that come and go leave nothing behind.
    #[test]
    fn churn_does_not_grow_the_order() {
        let mut listeners = Listeners::new(Counter::default());
        for n in 0..5 * MAX_LISTENERS as u64 {
            listeners.insert(listener("0.0.0.0", n));
            listeners.remove(4, 80, n);
        }
        assert!(listeners.order.len() <= 2 * MAX_LISTENERS, "{}", listeners.order.len());
        assert_eq!((listeners.len, listeners.forgotten.value()), (0, 0));
    }

    fn listeners(addresses: &[(&str, u64)]) -> Listeners {
        let mut listeners = Listeners::new(Counter::default());
        for (address, inode) in addresses {
            listeners.insert(listener(address, *inode));
        }
        listeners
    }

    fn listener(address: &str, inode: u64) -> Listener {
        let process = Process { pid: 1, command: "server".into() };
        Listener { netns: 4, address: address.parse().unwrap(), port: 80, inode, process }
    }

    #[track_caller]
    fn check(listeners: &Listeners, address: &str, inode: Option<u64>) {
        let found = listeners.find(4, address.parse().unwrap(), 80);
        assert_eq!(found.map(|it| it.inode), inode);
        assert_eq!(listeners.find(5, address.parse().unwrap(), 80), None, "another namespace");
    }
}
