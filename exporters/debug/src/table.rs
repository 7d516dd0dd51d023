//! Draws a table of links.

use std::cmp::Reverse;

use model::UnixNanos;

use crate::{
    links::{Look, Row},
    text,
};

/// Columns between two cells.
const GAP: usize = 2;

/// Names are not made shorter than this as long as there is a column to leave out.
const MIN_NAME: usize = 12;

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

/// How a table is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Columns that lines may take; any number if absent.
    pub(crate) width: Option<usize>,
    /// Links with a line of their own.
    pub(crate) max_links: usize,
    /// Whether to use colors.
    pub(crate) color: bool,
}

/// A column of numbers.
struct Column {
    title: &'static str,
    cell: fn(&Row) -> String,
    /// Columns with a lower one are left out first where the width does not suffice.
    importance: u8,
    /// Whether anything but a dash is bad news.
    alarming: bool,
}

const fn column(title: &'static str, importance: u8, cell: fn(&Row) -> String) -> Column {
    Column { title, cell, importance, alarming: false }
}

const COLUMNS: [Column; 9] = [
    column("PORT", 9, |row| row.port.clone()),
    column("REQUEST", 8, |row| rate(row.request)),
    column("RESPONSE", 7, |row| rate(row.response)),
    column("OPEN", 6, |row| count(row.open)),
    column("OPENED", 3, |row| count(row.opened)),
    column("CLOSED", 2, |row| count(row.closed)),
    Column { alarming: true, ..column("FAILED", 5, |row| count(row.failed)) },
    column("RESENT", 1, |row| count(row.resent)),
    column("RTT", 4, |row| row.rtt.mean().map_or_else(nothing, text::duration)),
];

/// Draws a heading and a line per link, each with its line end. Pure: the same look gives the same text.
pub(crate) fn draw(look: Look, layout: Layout) -> String {
    let Look { rows, time } = look;
    let rows = merged(rows);
    let mut heading = heading(&rows, time);
    let rows = shortened(sorted(rows), layout.max_links);
    if let Some(width) = layout.width {
        heading = text::cut(&heading, width);
    }
    let mut drawn = heading + "\n";
    if rows.is_empty() {
        return drawn;
    }
    let grid = Grid::new(&rows, layout.width);
    grid.draw(layout, &mut drawn);
    drawn
}

/// Makes one row of links that read the same.
fn merged(mut rows: Vec<Row>) -> Vec<Row> {
    let name = |row: &Row| (row.client.clone(), row.server.clone(), row.port.clone());
    rows.sort_by_cached_key(name);
    rows.dedup_by(|later, earlier| {
        let same =
            later.client == earlier.client && later.server == earlier.server && later.port == earlier.port;
        if same {
            earlier.add(later);
        }
        same
    });
    rows
}

/// Sorts by traffic, then by what else happens. Stable: equal rows stay sorted by name.
fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| {
        let traffic = |row: &Row| row.request + row.response;
        let rest = |row: &Row| Reverse((row.opened.saturating_add(row.failed), row.open));
        traffic(b).total_cmp(&traffic(a)).then_with(|| rest(a).cmp(&rest(b)))
    });
    rows
}

/// Adds up the rows beyond `max_links` in a last one.
fn shortened(mut rows: Vec<Row>, max_links: usize) -> Vec<Row> {
    // A last line for a single row would save nothing.
    if rows.len() <= max_links.saturating_add(1) {
        return rows;
    }
    let others = rows.split_off(max_links);
    let n_others = others.len();
    if let Some(mut sum) = others.into_iter().reduce(|mut sum, row| {
        sum.add(&row);
        sum
    }) {
        sum.client = format!("{n_others} others");
        sum.server = String::new();
        sum.port = String::new();
        rows.push(sum);
    }
    rows
}

fn heading(rows: &[Row], time: UnixNanos) -> String {
    let Some(sum) = rows.iter().cloned().reduce(|mut sum, row| {
        sum.add(&row);
        sum
    }) else {
        return format!("{}  no connections", text::time_of_day(time));
    };
    format!(
        "{}  {} {}  {} open  {} requested  {} answered",
        text::time_of_day(time),
        rows.len(),
        if rows.len() == 1 { "link" } else { "links" },
        text::count(sum.open),
        text::byte_rate(sum.request),
        text::byte_rate(sum.response),
    )
}

/// The cells of a table, and how wide they are drawn.
struct Grid<'a> {
    rows: &'a [Row],
    columns: Vec<(&'a Column, usize, Vec<String>)>,
    client_width: usize,
    server_width: usize,
}

impl<'a> Grid<'a> {
    fn new(rows: &'a [Row], width: Option<usize>) -> Self {
        let columns = COLUMNS.iter().map(|column| {
            let cells: Vec<_> = rows.iter().map(column.cell).collect();
            let widest = cells.iter().map(|it| text::width(it)).max().unwrap_or(0);
            (column, widest.max(column.title.len()), cells)
        });
        let mut columns: Vec<_> = columns.collect();
        let widest = |title: &str, name: fn(&Row) -> &String| {
            rows.iter().map(|it| text::width(name(it))).max().unwrap_or(0).max(title.len())
        };
        let (client, server) = (widest("CLIENT", |it| &it.client), widest("SERVER", |it| &it.server));
        let Some(width) = width else {
            return Self { rows, columns, client_width: client, server_width: server };
        };
        let needed = client.min(MIN_NAME) + GAP + server.min(MIN_NAME);
        while needed + taken(&columns) > width {
            let least = columns.iter().enumerate().min_by_key(|(_, it)| it.0.importance);
            let Some((idx, _)) = least else { break };
            columns.remove(idx);
        }
        let (client_width, server_width) = share(width.saturating_sub(GAP + taken(&columns)), client, server);
        Self { rows, columns, client_width, server_width }
    }

    fn draw(&self, layout: Layout, drawn: &mut String) {
        let Self { rows, columns, client_width, server_width } = self;
        let mut title = pad("CLIENT", *client_width) + &" ".repeat(GAP) + &pad("SERVER", *server_width);
        for (column, width, _) in columns {
            title += &format!("{}{}", " ".repeat(GAP), align(column.title, *width));
        }
        drawn.push_str(&painted(title.trim_end(), BOLD, layout.color));
        drawn.push('\n');
        for (idx, row) in rows.iter().enumerate() {
            let mut line =
                pad(&row.client, *client_width) + &" ".repeat(GAP) + &pad(&row.server, *server_width);
            for (column, width, cells) in columns {
                let cell = align(&cells[idx], *width);
                let alarm = layout.color && column.alarming && cells[idx] != nothing();
                line += &" ".repeat(GAP);
                line += &painted(&cell, RED, alarm);
            }
            drawn.push_str(line.trim_end());
            drawn.push('\n');
        }
    }
}

/// Returns how much the columns take, each with the gap before it.
fn taken(columns: &[(&Column, usize, Vec<String>)]) -> usize {
    columns.iter().map(|(_, width, _)| GAP + width).sum()
}

/// Shares room between two names that want more than there is.
fn share(room: usize, client: usize, server: usize) -> (usize, usize) {
    let client_share = client.min((room / 2).max(room.saturating_sub(server)));
    (client_share, server.min(room - client_share.min(room)))
}

fn painted(text: &str, paint: &str, color: bool) -> String {
    if color { format!("{paint}{text}{PLAIN}") } else { text.to_owned() }
}

/// Cuts or fills on the right.
fn pad(name: &str, columns: usize) -> String {
    let name = text::cut(name, columns);
    let missing = columns - text::width(&name);
    name + &" ".repeat(missing)
}

/// Cuts or fills on the left.
fn align(cell: &str, columns: usize) -> String {
    let cell = text::cut(cell, columns);
    " ".repeat(columns - text::width(&cell)) + &cell
}

fn nothing() -> String {
    "-".to_owned()
}

fn rate(bytes_per_sec: f64) -> String {
    if bytes_per_sec > 0.0 { text::byte_rate(bytes_per_sec) } else { nothing() }
}

fn count(n: u64) -> String {
    if n > 0 { text::count(n) } else { nothing() }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
