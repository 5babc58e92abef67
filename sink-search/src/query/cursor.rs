//! Steps over tokens: each either takes what it names and says so, or leaves it.

use headwater_common::nearest::hint;

use super::lexer::{Refusal, Token, TokenKind};
use crate::mapping::Mapping;

/// The tokens, and how far they are read.
pub(super) struct Parser<'a> {
    pub tokens: Vec<Token>,
    pub next: usize,
    pub mapping: &'a Mapping,
    pub nesting: usize,
}

impl Parser<'_> {
    pub(super) fn text(&mut self, what: &str) -> Result<String, Refusal> {
        match &self.peek().kind {
            TokenKind::Text(text) => {
                let text = text.clone();
                self.next += 1;
                Ok(text)
            }
            _ => Err(self.expected(what)),
        }
    }

    pub(super) fn comparison(&mut self) -> Option<&'static str> {
        match self.peek().kind {
            TokenKind::Symbol(symbol @ ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=")) => {
                self.next += 1;
                Some(symbol)
            }
            _ => None,
        }
    }
    pub(super) fn peek(&self) -> &Token {
        // The last token is the end, and nothing goes beyond it.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let taken = matches!(&self.peek().kind, TokenKind::Word(found) if found.eq_ignore_ascii_case(word));
        self.next += usize::from(taken);
        taken
    }

    /// `word (`; a field may have the word for its name.
    pub(super) fn take_call(&mut self, word: &str) -> bool {
        let opened = self.tokens.get(self.next + 1).is_some_and(|token| token.kind == TokenKind::Symbol("("));
        let taken = opened && self.take_word(word);
        self.next += usize::from(taken);
        taken
    }

    pub(super) fn take_symbol(&mut self, symbol: &str) -> bool {
        let taken = matches!(self.peek().kind, TokenKind::Symbol(found) if found == symbol);
        self.next += usize::from(taken);
        taken
    }

    pub(super) fn symbol(&mut self, symbol: &str, what: &str) -> Result<(), Refusal> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.expected(what)) }
    }

    pub(super) fn end(&mut self, what: &str) -> Result<(), Refusal> {
        match &self.peek().kind {
            TokenKind::End => Ok(()),
            TokenKind::Word(word) if what.contains("and") => {
                let near = hint(word, ["and", "or"]);
                Err(self.refuse(format!("expected {what}{near}")))
            }
            _ => Err(self.expected(what)),
        }
    }

    pub(super) fn expected(&self, what: &str) -> Refusal {
        self.refuse(match self.peek().kind {
            TokenKind::End => format!("expected {what}, and here it ends"),
            _ => format!("expected {what}"),
        })
    }

    pub(super) fn refuse(&self, message: String) -> Refusal {
        Refusal { at: self.peek().at.clone(), message }
    }

    /// No blank stands between this token and the one before.
    pub(super) fn touches_the_last(&self) -> bool {
        self.next > 0 && self.tokens[self.next - 1].at.end == self.peek().at.start
    }
}
