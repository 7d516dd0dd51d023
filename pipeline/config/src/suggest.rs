/// Longest word that is compared: what is longer is no misspelling.
const MAX_WORD_BYTES: usize = 64;

/// Most candidates that are compared, so that thousands of mistakes among thousands of names take no minutes.
const MAX_CANDIDATES: usize = 1000;

/// Finds the candidate that `word` is probably a misspelling of.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_WORD_BYTES {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter(|it| it.len() <= MAX_WORD_BYTES)
        .map(|it| (strsim::osa_distance(&word, &it.to_lowercase()), it))
        // A third of the letters may differ: fewer for short words, which resemble each other by chance.
        .filter(|(distance, it)| *distance <= (word.len().max(it.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it)
}

/// Says which word was probably meant, or else which there are.
pub(crate) fn help<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(nearest) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    let words = candidates.into_iter().take(MAX_CANDIDATES).map(|it| format!("`{it}`"));
    let mut words: Vec<String> = words.collect();
    words.sort();
    match words.as_slice() {
        [] => None,
        [word] => Some(format!("expected {word}")),
        _ => Some(format!("expected one of {}", words.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_is_recognized() {
        check("promethus", Some("prometheus"));
        check("lniks", Some("links"));
        check("Debug", Some("debug"));
    }

    #[test]
    fn another_word_is_not() {
        check("kafka", None);
        check("join", None);
        check(&"links".repeat(100), None);
    }

    #[track_caller]
    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(nearest(word, ["debug", "links", "prometheus"]), expected);
    }
}
