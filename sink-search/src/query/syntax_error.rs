//! The refusal of a text, as a person reads it: what is wrong, where, and what would be right.

use std::fmt;
use std::ops::Range;

use super::lexer::Refusal;

/// A text that is no query, with the place and what would be right there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub message: String,
    /// From 1, in characters of its line.
    pub column: usize,
    line: String,
    /// Characters to underline, at least one.
    width: usize,
}

impl std::error::Error for SyntaxError {}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tabs stand as one blank, so that the carets stand below what they mean.
        let line = self.line.replace('\t', " ");
        writeln!(f, "{} (column {})", self.message, self.column)?;
        writeln!(f, "  {line}")?;
        write!(f, "  {}{}", " ".repeat(self.column - 1), "^".repeat(self.width))
    }
}

impl SyntaxError {
    pub(super) fn new(text: &str, refusal: Refusal) -> SyntaxError {
        let Range { start, end } = refusal.at;
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let width = text[start..end.min(line_end).max(start)].chars().count().max(1);
        SyntaxError {
            message: refusal.message,
            column: text[line_start..start].chars().count() + 1,
            line: text[line_start..line_end].trim_end().to_owned(),
            width,
        }
    }
}
