use std::process::ExitCode;

use component::Factory;
use model::Signal;

use crate::{components, output};

/// Lists the components that a configuration can name.
pub(crate) fn list() -> anyhow::Result<ExitCode> {
    let mut rows = vec![["KIND", "TYPE", "SIGNALS", "STABILITY", "SUMMARY"].map(str::to_owned)];
    rows.extend(components::factories().iter().map(row));
    output::line(table(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn row(factory: &Factory) -> [String; 5] {
    let words = |signals: &[Signal]| -> String {
        signals.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (accepts, emits) = (words(factory.accepts()), words(factory.emits()));
    let signals = match (accepts.as_str(), emits.as_str()) {
        ("", signals) | (signals, "") => signals.to_owned(),
        (accepts, emits) if accepts == emits => accepts.to_owned(),
        (accepts, emits) => format!("{accepts} -> {emits}"),
    };
    [
        factory.kind().to_string(),
        factory.type_name().to_owned(),
        signals,
        factory.stability().as_str().to_owned(),
        factory.summary().to_owned(),
    ]
}

/// Lays rows out in columns; the last column is as wide as it likes.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths[N - 1] = 0;
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["KIND", "TYPE", "SUMMARY"],
            ["receiver", "x", "short"],
            ["exporter", "wide_one", "a longer text"],
        ];
        let expected = "\
KIND      TYPE      SUMMARY
receiver  x         short
exporter  wide_one  a longer text";
        assert_eq!(table(&rows.map(|row| row.map(str::to_owned))), expected);
    }
}
