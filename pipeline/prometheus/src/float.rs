use std::fmt::Write;

/// Writes a number as Go's `%g` does, which is what OpenMetrics calls canonical.
///
/// Digits are the fewest that read back as the same number; the exponent appears below 1e-4 and from 1e6 on, since long
/// rows of zeros would be all that a plain notation adds.
pub fn write(value: f64, out: &mut String) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        write_infallibly(out, format_args!("{value}"));
    } else {
        let start = out.len();
        write_infallibly(out, format_args!("{value:e}"));
        pad_exponent(out, start);
    }
}

/// Writes a number as a label value: whole numbers too have a decimal point, so that they are seen to be numbers.
///
/// OpenMetrics demands it of `le` and `quantile`; the older text format accepts it, and one spelling in both formats
/// keeps a series the same whichever was negotiated.
pub(crate) fn write_label(value: f64, out: &mut String) {
    let start = out.len();
    write(value, out);
    if out[start..].bytes().all(|it| it.is_ascii_digit() || it == b'-') {
        out.push_str(".0");
    }
}

/// Turns `1e9` into `1e+09`: a sign and at least two digits.
fn pad_exponent(out: &mut String, start: usize) {
    let Some(e) = out[start..].find('e').map(|it| start + it) else { return };
    let negative = out[e + 1..].starts_with('-');
    let digits = e + 1 + usize::from(negative);
    if out.len() - digits < 2 {
        out.insert(digits, '0');
    }
    if !negative {
        out.insert(e + 1, '+');
    }
}

fn write_infallibly(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_everyday_size_are_plain() {
        check(&[
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.00025, "0.00025"),
            (100_000.0, "100000"),
            (999_999.9, "999999.9"),
        ]);
    }

    #[test]
    fn large_and_small_numbers_have_an_exponent() {
        check(&[
            (0.00005, "5e-05"),
            (1e6, "1e+06"),
            (-1.25e-7, "-1.25e-07"),
            (123_456_789.0, "1.23456789e+08"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ]);
    }

    #[test]
    fn what_is_not_a_number_has_a_word() {
        check(&[(f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf")]);
    }

    #[test]
    fn labels_have_a_point_or_an_exponent() {
        for (value, expected) in [
            (1.0, "1.0"),
            (-3.0, "-3.0"),
            (0.5, "0.5"),
            (0.00005, "5e-05"),
            (1e6, "1e+06"),
            (f64::INFINITY, "+Inf"),
        ] {
            let mut out = String::new();
            write_label(value, &mut out);
            assert_eq!(out, expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            let mut out = String::new();
            write(value, &mut out);
            let back: f64 = out.parse().unwrap();
            prop_assert!(back == value || (back.is_nan() && value.is_nan()), "{out}");
        }
    }

    #[track_caller]
    fn check(cases: &[(f64, &str)]) {
        for (value, expected) in cases {
            let mut out = String::new();
            write(*value, &mut out);
            assert_eq!(out, *expected);
        }
    }
}
