use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use model::{UnixNanos, cgroup::Uid};

use crate::object::ObjectName;

/// Most tenants of addresses that are remembered after they have left; the one that left first makes room.
const MAX_LEFT: usize = 1 << 16;

/// Who has, or had, an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tenant {
    Pod(Uid),
    Service(ObjectName),
    Node(Arc<str>),
}

/// Who had which address when.
///
/// An address is given to another as soon as its tenant is gone, and records of the former come late. So each tenant has a
/// time, those that have left are remembered for a while, and of those whose time it was the last that came is meant.
#[derive(Debug)]
pub(crate) struct Addresses {
    // Of each address the last that came is the first.
    tenancies: HashMap<IpAddr, Vec<Tenancy>, RandomState>,
    // In the order of time. What is no longer there, or came back, is a leftover.
    left: VecDeque<(UnixNanos, IpAddr)>,
    keep: Duration,
}

#[derive(Debug)]
struct Tenancy {
    tenant: Tenant,
    since: UnixNanos,
    until: Option<UnixNanos>,
}

impl Addresses {
    /// Knows none yet; remembers who has left for so long.
    pub(crate) fn new(keep: Duration) -> Self {
        Self { tenancies: HashMap::default(), left: VecDeque::new(), keep }
    }

    /// Takes note that a tenant has an address, since some time.
    pub(crate) fn enter(&mut self, address: IpAddr, tenant: Tenant, since: UnixNanos) {
        // Most have one tenant.
        let tenancies = self.tenancies.entry(address).or_insert_with(|| Vec::with_capacity(1));
        match tenancies.iter_mut().find(|it| it.tenant == tenant && it.until.is_none()) {
            Some(known) => known.since = known.since.min(since),
            None => tenancies.push(Tenancy { tenant, since, until: None }),
        }
        tenancies.sort_by_key(|it| Reverse(it.since));
    }

    /// Takes note that a tenant no longer has an address.
    pub(crate) fn leave(&mut self, address: IpAddr, tenant: &Tenant, now: UnixNanos) {
        let Some(tenancies) = self.tenancies.get_mut(&address) else { return };
        for tenancy in tenancies.iter_mut().filter(|it| it.tenant == *tenant && it.until.is_none()) {
            tenancy.until = Some(now);
            self.left.push_back((now, address));
        }
        if self.left.len() > MAX_LEFT
            && let Some((until, address)) = self.left.pop_front()
        {
            self.forget(address, until);
        }
    }

    /// Forgets who left long ago.
    pub(crate) fn expire(&mut self, now: UnixNanos) {
        while let Some(&(until, address)) = self.left.front()
            && now.saturating_since(until) >= self.keep
        {
            self.left.pop_front();
            self.forget(address, until);
        }
    }

    /// Returns who had an address at a time, the last that came first.
    pub(crate) fn tenants(&self, address: IpAddr, at: UnixNanos) -> impl Iterator<Item = &Tenant> {
        let tenancies = self.tenancies.get(&address).map(Vec::as_slice).unwrap_or_default();
        tenancies.iter().filter(move |it| it.was_there(at)).map(|it| &it.tenant)
    }

    /// Returns how many addresses are known.
    pub(crate) fn len(&self) -> usize {
        self.tenancies.len()
    }

    fn forget(&mut self, address: IpAddr, until: UnixNanos) {
        if let Some(tenancies) = self.tenancies.get_mut(&address) {
            tenancies.retain(|it| it.until != Some(until));
            if tenancies.is_empty() {
                self.tenancies.remove(&address);
            }
        }
    }
}

impl Tenant {
    /// Returns the pod that it is, if it is one.
    pub(crate) fn pod(&self) -> Option<Uid> {
        if let Self::Pod(uid) = self { Some(*uid) } else { None }
    }

    /// Returns the Service that it is, if it is one.
    pub(crate) fn service(&self) -> Option<&ObjectName> {
        if let Self::Service(name) = self { Some(name) } else { None }
    }

    /// Returns the node that it is, if it is one.
    pub(crate) fn node(&self) -> Option<&Arc<str>> {
        if let Self::Node(name) = self { Some(name) } else { None }
    }
}

impl Tenancy {
    fn was_there(&self, at: UnixNanos) -> bool {
        self.since <= at && self.until.is_none_or(|until| at < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: u64 = 120;

    /// A name is who had the address at that second.
    #[test]
    fn an_address_is_whose_time_it_was() {
        let mut addresses = addresses();
        enter(&mut addresses, 1, 100);
        leave(&mut addresses, 1, 200);
        enter(&mut addresses, 2, 210);
        let found = [99, 100, 199, 200, 209, 210, 1_000].map(|at| found(&addresses, at));
        assert_eq!(found, [None, Some(1), Some(1), None, None, Some(2), Some(2)]);
    }

    /// The API server may tell of the new tenant before it tells that the former has gone.
    #[test]
    fn who_came_last_is_meant() {
        let mut addresses = addresses();
        enter(&mut addresses, 1, 100);
        enter(&mut addresses, 2, 200);
        assert_eq!([150, 200, 250].map(|at| found(&addresses, at)), [Some(1), Some(2), Some(2)]);
        leave(&mut addresses, 1, 260);
        assert_eq!([150, 250, 270].map(|at| found(&addresses, at)), [Some(1), Some(2), Some(2)]);
    }

    #[test]
    fn who_left_is_forgotten_after_a_while() {
        let mut addresses = addresses();
        enter(&mut addresses, 1, 100);
        leave(&mut addresses, 1, 200);
        enter(&mut addresses, 2, 250);
        addresses.expire(seconds(200 + KEEP - 1));
        assert_eq!(found(&addresses, 150), Some(1));
        addresses.expire(seconds(200 + KEEP));
        assert_eq!([150, 250].map(|at| found(&addresses, at)), [None, Some(2)]);
        leave(&mut addresses, 2, 400);
        addresses.expire(seconds(400 + KEEP));
        assert_eq!((addresses.len(), addresses.left.len()), (0, 0));
    }

    #[test]
    fn the_bound_holds_however_many_leave_at_once() {
        let mut addresses = addresses();
        for n in 0..u32::try_from(MAX_LEFT).unwrap() + 10 {
            let address = IpAddr::V4(n.into());
            addresses.enter(address, Tenant::Pod(uid(1)), seconds(100));
            addresses.leave(address, &Tenant::Pod(uid(1)), seconds(200));
        }
        assert_eq!((addresses.len(), addresses.left.len()), (MAX_LEFT, MAX_LEFT));
    }

    fn addresses() -> Addresses {
        Addresses::new(Duration::from_secs(KEEP))
    }

    fn enter(addresses: &mut Addresses, n: u128, since: u64) {
        addresses.enter(ADDRESS, Tenant::Pod(uid(n)), seconds(since));
    }

    fn leave(addresses: &mut Addresses, n: u128, now: u64) {
        addresses.leave(ADDRESS, &Tenant::Pod(uid(n)), seconds(now));
    }

    fn found(addresses: &Addresses, at: u64) -> Option<u128> {
        addresses.tenants(ADDRESS, seconds(at)).next().map(|it| match it {
            Tenant::Pod(uid) => u128::from_str_radix(&uid.to_string().replace('-', ""), 16).unwrap(),
            _ => unreachable!("only pods came"),
        })
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 7));

    fn uid(n: u128) -> Uid {
        Uid::parse(&format!("{n:032x}")).unwrap()
    }

    const fn seconds(n: u64) -> UnixNanos {
        UnixNanos(n * 1_000_000_000)
    }
}
