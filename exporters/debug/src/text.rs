//! Text that is safe and as wide on a terminal as it claims.

use std::{fmt, time::Duration};

use model::UnixNanos;
use unicode_width::UnicodeWidthChar;

/// Stands for what a terminal would obey instead of showing.
const HIDDEN: char = '?';

/// Stands for what did not fit.
const CUT: char = '~';

/// Returns the text with everything replaced that a terminal would not show as a character of its own: control
/// characters, which begin escape sequences, and those without width, which reorder or join others.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|it| if it.width().unwrap_or(0) == 0 { HIDDEN } else { it }).collect()
}

/// Returns a name as printable text; one that is blank, or begins or ends so, in quotes, for it would not be seen.
pub(crate) fn name(name: &str) -> String {
    let shown = printable(name);
    if shown.is_empty() || shown.trim() != shown { format!("\"{shown}\"") } else { shown }
}

/// Returns how many columns printable text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|it| it.width().unwrap_or(0)).sum()
}

/// Returns the text, cut to at most `columns`.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let mut left = columns - 1;
    let fits = |it: &char| {
        let width = it.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push(CUT);
    short
}

/// Displays a number in three digits or so, with a decimal prefix: `0`, `999`, `1.2 k`, `34 M`.
#[derive(Clone, Copy, Debug)]
struct Scaled(f64);

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0.max(0.0);
        let mut prefix = "";
        // Below each limit the number still rounds to three digits.
        for next in ["k", "M", "G", "T", "P"] {
            if value < 999.5 {
                break;
            }
            value /= 1_000.0;
            prefix = next;
        }
        let precision = usize::from(value < 9.95 && (value.fract() != 0.0 || !prefix.is_empty()));
        write!(f, "{value:.precision$} {prefix}")
    }
}

/// Writes an amount of bytes: `12 B`, `3.4 kB`.
pub(crate) fn bytes(bytes: f64) -> String {
    format!("{}B", Scaled(bytes))
}

/// Writes a rate of bytes per second.
pub(crate) fn byte_rate(bytes_per_sec: f64) -> String {
    format!("{}/s", self::bytes(bytes_per_sec))
}

/// Writes a count: `12`, `3.4k`.
pub(crate) fn count(n: u64) -> String {
    // Exact enough: it is rounded to three digits anyway.
    Scaled(n as f64).to_string().replace(' ', "")
}

/// Writes a duration in two digits or three: `50 us`, `1.2 ms`, `3.4 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    let (value, unit) = match micros {
        ..999.5 => (micros, "us"),
        ..999_500.0 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let precision = usize::from(value < 9.95 && unit != "us");
    format!("{value:.precision$} {unit}")
}

/// Writes the time of day in UTC: `20:15:05`.
pub(crate) fn time_of_day(time: UnixNanos) -> String {
    let secs = time.0 / 1_000_000_000 % 86_400;
    format!("{:02}:{:02}:{:02}", secs / 3_600, secs / 60 % 60, secs % 60)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names come from whoever runs a process: they must not move the cursor, clear the screen or turn text around.
    #[test]
    fn what_a_terminal_would_obey_is_hidden() {
        for (name, shown) in [
            ("nginx", "nginx"),
            ("\u{1b}[2Jgone", "?[2Jgone"),
            ("a\r\nb\tc\u{7}", "a??b?c?"),
            ("\u{9b}31m", "?31m"),
            ("abc\u{202e}fed", "abc?fed"),
            ("zero\u{200b}width\u{feff}", "zero?width?"),
            ("e\u{301}", "e?"),
            ("\u{6771}\u{4eac}", "\u{6771}\u{4eac}"),
        ] {
            assert_eq!(printable(name), shown, "{name:?}");
        }
    }

    /// A process may call itself anything: an empty cell would look like a fault of the table.
    #[test]
    fn a_name_of_blanks_is_seen() {
        for (name, shown) in [
            ("postgres: writer", "postgres: writer"),
            ("", "\"\""),
            ("   ", "\"   \""),
            (" a", "\" a\""),
            ("\u{3000}", "\"\u{3000}\""),
            ("\u{200b}", "?"),
        ] {
            assert_eq!(super::name(name), shown, "{name:?}");
        }
    }

    #[test]
    fn text_is_cut_by_columns_not_by_characters() {
        for (text, columns, expected) in [
            ("nginx", 5, "nginx"),
            ("nginx", 4, "ngi~"),
            ("nginx", 1, "~"),
            ("nginx", 0, ""),
            ("\u{6771}\u{4eac}", 4, "\u{6771}\u{4eac}"),
            // The second character would end beyond the third column.
            ("\u{6771}\u{4eac}", 3, "\u{6771}~"),
            ("\u{6771}\u{4eac}", 2, "~"),
        ] {
            assert_eq!(cut(text, columns), expected, "{text} {columns}");
        }
    }

    #[test]
    fn rates_have_three_digits_and_a_unit() {
        for (rate, expected) in [
            (0.0, "0 B/s"),
            (0.25, "0.2 B/s"),
            (7.0, "7 B/s"),
            (999.4, "999 B/s"),
            (999.6, "1.0 kB/s"),
            (1_234.0, "1.2 kB/s"),
            (9_960.0, "10 kB/s"),
            (999_499.0, "999 kB/s"),
            (999_500.0, "1.0 MB/s"),
            (2.5e9, "2.5 GB/s"),
            (4e18, "4000 PB/s"),
        ] {
            assert_eq!(byte_rate(rate), expected, "{rate}");
        }
    }

    #[test]
    fn counts_have_no_space() {
        for (n, expected) in [(0, "0"), (7, "7"), (999, "999"), (1_000, "1.0k"), (20_000, "20k")] {
            assert_eq!(count(n), expected);
        }
    }

    #[test]
    fn durations_have_a_unit_that_fits() {
        for (nanos, expected) in [
            (0, "0 us"),
            (50_400, "50 us"),
            (999_400, "999 us"),
            (999_500, "1.0 ms"),
            (12_300_000, "12 ms"),
            (999_499_000, "999 ms"),
            (999_500_000, "1.0 s"),
            (75_000_000_000, "75 s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn the_time_of_day_is_utc() {
        assert_eq!(time_of_day(UnixNanos(0)), "00:00:00");
        // 2026-01-01 23:59:59 UTC.
        assert_eq!(time_of_day(UnixNanos(1_767_311_999_999_999_999)), "23:59:59");
    }

    proptest! {
        /// The table's columns line up because cut text is never wider than it was told to be.
        #[test]
        fn cut_text_fits(text in "\\PC{0,20}|.{0,20}", columns in 0..12_usize) {
            let shown = cut(&printable(&text), columns);
            prop_assert!(width(&shown) <= columns);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
