use std::{env, fs, path::Path};

use proptest::prelude::*;

use super::*;
use crate::links::{RttSamples, tests::row};

const WIDE: Layout = Layout { width: None, max_links: 20, color: false };

/// What one sees on a wide terminal, or in a file.
#[test]
fn every_column_is_there_if_it_fits() {
    check("wide", busy(), WIDE);
    check("wide", busy(), Layout { width: Some(160), ..WIDE });
    check("120_columns", busy(), Layout { width: Some(120), ..WIDE });
}

#[test]
fn columns_are_left_out_before_names_are_cut() {
    check("80_columns", busy(), Layout { width: Some(80), ..WIDE });
    check("40_columns", busy(), Layout { width: Some(40), ..WIDE });
}

/// The least important goes first, and only when the names are as short as they may be.
#[test]
fn a_column_less_makes_room() {
    let look = || Look { rows: vec![Row { resent: 1, ..row() }], time: at(0, 0, 0) };
    let titles = |width| draw(look(), Layout { width, ..WIDE }).lines().nth(1).unwrap().to_owned();
    let all = titles(None);
    assert_eq!(titles(Some(all.len())), all);
    assert_eq!(titles(Some(all.len() - 1)), all.replace("  RESENT", ""));
}

/// Room that one name does not need is the other's.
#[test]
fn names_share_what_room_there_is() {
    for (room, client, server, expected) in [
        (40, 10, 20, (10, 20)),
        (40, 30, 30, (20, 20)),
        (40, 10, 50, (10, 30)),
        (40, 50, 10, (30, 10)),
        (41, 50, 50, (20, 21)),
        (0, 5, 5, (0, 0)),
    ] {
        assert_eq!(share(room, client, server), expected, "{room} for {client} and {server}");
    }
}

#[test]
fn links_beyond_the_limit_share_the_last_line() {
    check("others", busy(), Layout { max_links: 2, ..WIDE });
}

#[test]
fn a_last_line_never_stands_for_one_link() {
    check("wide", busy(), Layout { max_links: 4, ..WIDE });
}

#[test]
fn failures_are_red() {
    check("color", busy(), Layout { max_links: 2, color: true, ..WIDE });
}

#[test]
fn without_links_there_is_a_heading() {
    check("empty", Look { rows: Vec::new(), time: at(20, 15, 5) }, WIDE);
}

/// They differ in an attribute that the table does not show.
#[test]
fn links_that_read_the_same_are_one_line() {
    let half = Row { request: 50.0, opened: 1, ..row() };
    let one = draw(Look { rows: vec![half.clone(), half], time: at(0, 0, 0) }, WIDE);
    let whole = Row { request: 100.0, opened: 2, ..row() };
    assert_eq!(one, draw(Look { rows: vec![whole], time: at(0, 0, 0) }, WIDE));
}

proptest! {
    /// No line is wider than the terminal, whatever names and widths there are, so that redrawing counts lines right.
    #[test]
    fn nothing_is_wider_than_the_terminal(
        names in prop::collection::vec(("\\PC{0,30}", "\\PC{0,30}"), 0..6),
        width in 0..130_usize,
        max_links in 1..5_usize,
    ) {
        let row = |(client, server): (String, String)| Row {
            client: text::printable(&client),
            server: text::printable(&server),
            request: 12_345.6,
            failed: 3,
            ..row()
        };
        let look = Look { rows: names.into_iter().map(row).collect(), time: at(1, 2, 3) };
        let table = draw(look, Layout { width: Some(width), max_links, color: false });
        for line in table.lines() {
            prop_assert!(text::width(line) <= width, "{width}: {line}");
        }
        prop_assert!(table.lines().count() <= max_links + 3);
    }
}

fn busy() -> Look {
    let rtt = |count, sum_secs| RttSamples { count, sum_secs };
    let link = |client: &str, server: &str, port: &str| Row {
        client: client.to_owned(),
        server: server.to_owned(),
        port: port.to_owned(),
        ..row()
    };
    let rows = vec![
        Row { failed: 3, ..link("wget", "192.0.2.7", "443 https") },
        Row {
            request: 1_234.0,
            response: 3_400_000.0,
            open: 12,
            opened: 20,
            closed: 19,
            rtt: rtt(10, 0.000_5),
            ..link("wrk", "nginx.service", "80 http")
        },
        Row {
            request: 250_000.0,
            response: 90.0,
            open: 1,
            resent: 4,
            rtt: rtt(2, 0.05),
            ..link("postgres (2b1f7c3a9d0e)", "backup-of-all-the-things.service", "5432 postgresql")
        },
        Row {
            open: 2,
            rtt: rtt(1, 0.008),
            ..link("\u{6771}\u{4eac}", "2001:db8:1234:5678:9abc:def0:1234:5678", "6379 redis")
        },
        Row {
            opened: 1,
            closed: 1,
            rtt: rtt(3, 0.004),
            ..link("systemd-resolve", "192.0.2.53", "53 domain")
        },
    ];
    Look { rows, time: at(20, 15, 5) }
}

fn at(hours: u64, minutes: u64, secs: u64) -> UnixNanos {
    UnixNanos(((hours * 60 + minutes) * 60 + secs) * 1_000_000_000)
}

/// Compares with `testdata/tables/NAME.txt`, or writes it if `UPDATE_GOLDEN` is set.
#[track_caller]
fn check(name: &str, look: Look, layout: Layout) {
    let table = draw(look, layout);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/tables/{name}.txt"));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &table).unwrap();
    }
    assert_eq!(table, fs::read_to_string(&path).unwrap(), "{name}");
}
