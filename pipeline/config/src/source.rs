use std::{fs::File, io::Read, ops::Range, path::Path, sync::Arc};

use crate::{
    Diagnostic, Place, Position,
    diagnostic::{Problem, Snippet},
};

/// Largest configuration file, in bytes. The largest sensible one has a few thousand.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 20;

/// One text that a configuration is layered from.
#[derive(Debug)]
pub(crate) struct Source {
    layer: usize,
    name: Arc<str>,
    text: String,
    /// `None` if nobody can look up a line of it.
    lines: Option<Lines>,
}

/// Finds lines and columns in a text.
#[derive(Debug)]
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// Returns the number of the line that contains a byte, from 1, and the byte that it begins with.
    pub(crate) fn find(&self, offset: usize) -> (usize, usize) {
        let number = self.starts.partition_point(|it| *it <= offset).max(1);
        (number, self.starts[number - 1])
    }
}

impl Source {
    /// Wraps text that has lines a person can look up.
    pub(crate) fn new(layer: usize, name: &str, text: String) -> Self {
        // The mark is no content, and an editor does not count it as a column.
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        Self { layer, name: name.into(), lines: Some(Lines::new(&text)), text }
    }

    /// Wraps the value of a command line argument: `name` alone tells where it is.
    pub(crate) fn argument(layer: usize, name: &str, text: String) -> Self {
        Self { layer, name: name.into(), text, lines: None }
    }

    /// Reads a file of at most [`MAX_FILE_BYTES`].
    pub(crate) fn read(layer: usize, path: &Path) -> Result<Self, Box<Diagnostic>> {
        let name = path.display().to_string();
        let fail = |message: &str, help| {
            let place = Place::new(layer, name.as_str().into(), None);
            Box::new(Diagnostic::new(place, message, None, help))
        };
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file of just that size from a larger one.
        let limit = MAX_FILE_BYTES as u64 + 1;
        if let Err(error) = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            return Err(fail(&format!("cannot read the file: {error}"), None));
        }
        if bytes.len() > MAX_FILE_BYTES {
            let message = format!("the file is larger than {MAX_FILE_BYTES} bytes");
            return Err(fail(&message, Some("split it and name each part with `--config`")));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(layer, &name, text)),
            Err(error) => {
                let n_valid = error.utf8_error().valid_up_to();
                let mut valid = error.into_bytes();
                valid.truncate(n_valid);
                let source = Self::new(layer, &name, String::from_utf8_lossy(&valid).into_owned());
                let end = source.text.len();
                Err(Box::new(source.diagnostic(Problem::new(end..end, "the file is not UTF-8 from here on"))))
            }
        }
    }

    pub(crate) fn layer(&self) -> usize {
        self.layer
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn has_lines(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text as written at `span`.
    pub(crate) fn slice(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// Returns the place of the source as a whole.
    pub(crate) fn whole(&self) -> Place {
        Place::new(self.layer, Arc::clone(&self.name), None)
    }

    /// Returns the place where `span` begins.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let position = self.lines.as_ref().map(|lines| self.position(lines, span.start).0);
        Place::new(self.layer, Arc::clone(&self.name), position)
    }

    /// Shows a problem where it is.
    pub(crate) fn diagnostic(&self, problem: Problem) -> Diagnostic {
        let Problem { span, message, help } = problem;
        let snippet = self.lines.as_ref().map(|lines| {
            let (position, line) = self.position(lines, span.start);
            let underlined = self.text.get(span.clone()).and_then(|it| it.lines().next()).unwrap_or_default();
            Snippet::new(line, position, underlined.chars().count().max(1))
        });
        Diagnostic::new(self.place(&span), &message, snippet, help.as_deref())
    }

    /// Returns the position of a byte, and its line.
    fn position(&self, lines: &Lines, offset: usize) -> (Position, &str) {
        let (line, start) = lines.find(offset);
        let before = self.text.get(start..offset).unwrap_or_default();
        let position = Position { line, column: 1 + before.chars().count() };
        (position, self.text.get(start..).and_then(|it| it.lines().next()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        check("a: b\nc: d\n", "a", (1, 1));
        check("a: b\nc: d\n", "d", (2, 4));
    }

    /// An editor's column counts what it draws, not the bytes.
    #[test]
    fn columns_count_characters() {
        check("\u{e9}\u{1f980}: x", "x", (1, 5));
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        check("\u{feff}a: b", "a", (1, 1));
    }

    #[test]
    fn windows_lines_count_like_others() {
        check("a: b\r\nc: d\r\n", "d", (2, 4));
    }

    #[track_caller]
    fn check(text: &str, needle: &str, expected: (usize, usize)) {
        let source = Source::new(0, "x.yaml", text.to_owned());
        let start = source.text.find(needle).unwrap();
        let position = source.place(&(start..start + needle.len())).position().unwrap();
        assert_eq!((position.line, position.column), expected);
    }
}
