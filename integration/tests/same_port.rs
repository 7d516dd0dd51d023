//! That connections between the same two ports, one after the other, are told apart.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use integration::{
    Moment,
    agent::with_all_and_two,
    cases,
    record::{self, Record},
};

/// What the records of one connection say together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Connection {
    n_begins: usize,
    n_ends: usize,
    request: u64,
    response: u64,
}

/// Whoever closed first waits in the kernel for packets that are late, the server or the client, when the next connection begins.
/// Each has an id of its own, begins and ends once, and has its own bytes.
#[test]
fn each_connection_of_a_port_has_an_id_of_its_own() -> anyhow::Result<()> {
    with_all_and_two(|rights| {
        let cases = [
            "one_port_again_and_again",
            "one_port_again_and_again_over_loopback",
            "one_port_again_after_the_server_closed",
            "one_port_again_after_the_server_closed_over_loopback",
        ];
        let (moments, records) = record::of_cases(rights, &cases.map(cases::named))?;
        for (name, moment) in cases.into_iter().zip(&moments) {
            let of_case = records.iter().filter(|it| it.server.port == moment.route.dial.port());
            check(of_case, moment).with_context(|| format!("the records of `{name}`"))?;
        }
        Ok(())
    })
}

fn check<'a>(records: impl Iterator<Item = &'a Record>, moment: &Moment) -> anyhow::Result<()> {
    let (mut connections, mut clients) = (BTreeMap::<_, Connection>::new(), BTreeSet::new());
    for record in records {
        let id = record.id.as_deref().context("a record without an id: an attempt that failed")?;
        let connection = connections.entry(id).or_default();
        connection.n_begins += usize::from(record.begin.is_some());
        connection.n_ends += usize::from(record.end.is_some());
        connection.request += record.request.bytes;
        connection.response += record.response.bytes;
        clients.insert((record.client.address, record.client.port));
    }
    ensure!(clients.len() == 1, "the client has used {clients:?}");
    let truth = moment.truth();
    ensure!(connections.len() as u64 == truth.opened, "{} connections: {connections:#?}", truth.opened);
    let each = Connection {
        n_begins: 1,
        n_ends: 1,
        request: truth.request / truth.opened,
        response: truth.response / truth.opened,
    };
    ensure!(connections.values().all(|it| *it == each), "{connections:#?}, expected {each:?} of each");
    Ok(())
}
