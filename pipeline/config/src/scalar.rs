use crate::node::Content;

/// Gives a plain scalar its type, by the core schema of YAML 1.2.
///
/// `yes`, `no`, `on` and `off` are text there, and so are numbers with underscores.
///
/// See: <https://yaml.org/spec/1.2.2/#103-core-schema>
pub(crate) fn typed(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Bool(true),
        "false" | "False" | "FALSE" => return Content::Bool(false),
        _ => {}
    }
    number(text).unwrap_or_else(|| Content::Text(text.to_owned()))
}

fn number(text: &str) -> Option<Content> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Some(Content::Float(sign * f64::INFINITY));
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Content::Float(f64::NAN));
    }
    // Rust also reads words such as `inf` and `infinity` as numbers.
    let is_numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !unsigned.chars().all(is_numeric) {
        return None;
    }
    if let Ok(number) = text.parse() {
        return Some(Content::Unsigned(number));
    }
    if let Ok(number) = text.parse() {
        return Some(Content::Signed(number));
    }
    text.parse().ok().map(Content::Float)
}

fn radix(digits: &str, radix: u32) -> Option<Content> {
    let is_number = digits.chars().all(|c| c.is_digit(radix));
    is_number.then(|| u64::from_str_radix(digits, radix).ok())?.map(Content::Unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_nothing_and_for_truth_have_three_spellings() {
        check("null", "Null");
        check("~", "Null");
        check("", "Null");
        check("TRUE", "Bool(true)");
        check("false", "Bool(false)");
        check("tRue", "Text(\"tRue\")");
    }

    /// In YAML 1.1 these were truth values, which turned the country code of Norway into `false`.
    #[test]
    fn yes_and_no_are_text() {
        check("no", "Text(\"no\")");
        check("on", "Text(\"on\")");
    }

    #[test]
    fn numbers_keep_their_sign_and_radix() {
        check("0", "Unsigned(0)");
        check("+7", "Unsigned(7)");
        check("-7", "Signed(-7)");
        check("0x1F", "Unsigned(31)");
        check("0o17", "Unsigned(15)");
        check("18446744073709551615", "Unsigned(18446744073709551615)");
        check("1.5e3", "Float(1500.0)");
        check(".5", "Float(0.5)");
        check("-.inf", "Float(-inf)");
        check(".nan", "Float(NaN)");
    }

    #[test]
    fn what_only_begins_like_a_number_is_text() {
        for text in ["5s", "127.0.0.1", "1_000", "0x", "0xg", "inf", "nan", "-", ".", "1e", "12-5", "--1"] {
            check(text, &format!("Text({text:?})"));
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(format!("{:?}", typed(text)), expected, "{text}");
    }
}
