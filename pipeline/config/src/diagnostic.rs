use std::{error::Error, fmt, ops::Range, sync::Arc};

/// Where something in the configuration comes from.
///
/// Displayed as `file:line:column`, as a file alone where no position applies, or as the command line argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Orders places as the sources are layered.
    layer: usize,
    /// The file's path as it was given, or the argument.
    source: Arc<str>,
    position: Option<Position>,
}

/// A line and a column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line in the file.
    pub line: usize,
    /// Character in the line.
    pub column: usize,
}

impl Place {
    pub(crate) fn new(layer: usize, source: Arc<str>, position: Option<Position>) -> Self {
        let source =
            if source.chars().all(|it| printable(it) == it) { source } else { to_printable(&source).into() };
        Self { layer, source, position }
    }

    /// Returns the position inside a file.
    pub fn position(&self) -> Option<Position> {
        self.position
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => write!(f, "{}:{line}:{column}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// One thing that is wrong or doubtful in a configuration.
///
/// Displayed as `place: message`, then the line of the file with what is meant underlined, then the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) snippet: Option<Snippet>,
    pub(crate) help: Option<String>,
}

impl Diagnostic {
    /// Makes what is shown printable: names and values in it may come from a file that holds anything.
    pub(crate) fn new(place: Place, message: &str, snippet: Option<Snippet>, help: Option<&str>) -> Self {
        Self { place, message: to_printable(message), snippet, help: help.map(to_printable) }
    }

    /// Returns where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Returns what it is.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what to do about it, where that is known.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, message, snippet, help } = self;
        write!(f, "{place}: {message}")?;
        if let Some(snippet) = snippet {
            write!(f, "\n{snippet}")?;
        }
        if let Some(help) = help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

/// Most characters of a message: a word of a file may be as long as the file.
const MAX_MESSAGE_CHARS: usize = 400;

fn to_printable(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(MAX_MESSAGE_CHARS).map(printable).collect();
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// A terminal obeys control characters, and lets others turn the direction of what follows.
fn printable(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        _ if c.is_control() => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

/// A mistake in one source, before it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// What to underline: bytes of the source.
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Problem {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// A line of a file with a part of it underlined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snippet {
    line_number: usize,
    line: String,
    /// Characters before the underlined part.
    before: usize,
    /// Underlined characters, at least one.
    len: usize,
}

impl Snippet {
    /// Most characters of a line that are shown: what is meant is near the start of what is shown.
    const MAX_WIDTH: usize = 120;

    pub(crate) fn new(line: &str, position: Position, len: usize) -> Self {
        let column = position.column.saturating_sub(1);
        let skip =
            if column + len < Self::MAX_WIDTH { 0 } else { column.saturating_sub(Self::MAX_WIDTH / 2) };
        let line: String = line.chars().skip(skip).take(Self::MAX_WIDTH).map(printable).collect();
        let n_shown = line.chars().count();
        let before = (column - skip).min(n_shown);
        let len = len.clamp(1, (n_shown - before).max(1));
        Self { line_number: position.line, line: line.trim_end().to_owned(), before, len }
    }
}

impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line_number, line, before, len } = self;
        let number = line_number.to_string();
        let margin = " ".repeat(number.len());
        writeln!(f, "{margin} |\n{number} | {line}")?;
        write!(f, "{margin} | {}{}", " ".repeat(*before), "^".repeat(*len))
    }
}

/// Everything that is wrong with a configuration, in the order of the sources and of the lines in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Diagnostic>);

impl Errors {
    pub(crate) fn new(mut errors: Vec<Diagnostic>) -> Self {
        errors.sort_by(|a, b| (&a.place, &a.message).cmp(&(&b.place, &b.message)));
        errors.dedup();
        Self(errors)
    }

    /// Returns the errors one by one; there is at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, error) in self.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl Error for Errors {}
