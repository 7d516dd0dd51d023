//! That records have the addresses of both ends as they are, whole and of the family that they belong to.

use std::collections::BTreeSet;

use anyhow::ensure;
use integration::{agent::with_all_and_two, cases, record};

/// An address of IPv6 is one at both ends, and a v4-mapped one is the address of IPv4 that it stands for.
#[test]
fn records_have_the_addresses_of_both_ends() -> anyhow::Result<()> {
    with_all_and_two(|rights| {
        let cases = [
            "ipv6_is_not_garbage",
            "ipv6_is_not_garbage_where_nobody_listens",
            "over_ipv6",
            "over_loopback_ipv6",
            "over_mapped_addresses",
            "on_one_node",
        ];
        let (moments, records) = record::of_cases(rights, &cases.map(cases::named))?;
        for (name, moment) in cases.into_iter().zip(&moments) {
            let of_case = records.iter().filter(|it| it.server.port == moment.route.listen.port());
            let found: BTreeSet<_> = of_case.map(|it| (it.client.address, it.server.address)).collect();
            let ends = (moment.route.source, moment.route.listen.ip());
            let expected = BTreeSet::from([(ends.0.to_canonical(), ends.1.to_canonical())]);
            ensure!(found == expected, "the records of `{name}` have {found:?}, expected {expected:?}");
        }
        Ok(())
    })
}
