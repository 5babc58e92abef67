//! The query language's tokens, each with its place.

use std::ops::Range;

/// Places are byte offsets into the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub at: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A bare word: a field, a keyword of the language or a unit.
    Word(String),
    /// A field's name in backquotes, which is never a keyword.
    Name(String),
    Text(String),
    /// As written: nothing is rounded here.
    Number(String),
    Symbol(&'static str),
    End,
}

pub(super) struct Refusal {
    pub at: Range<usize>,
    pub message: String,
}

/// Longer ones first.
const SYMBOLS: [&str; 12] = ["!=", "<>", "<=", ">=", "<", ">", "=", ":", "(", ")", ",", "*"];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = token(text, at, first)?;
        tokens.push(Token { kind, at: at..at + length });
        at += length;
    }
    tokens.push(Token { kind: TokenKind::End, at: at..at });
    Ok(tokens)
}

fn token(text: &str, at: usize, first: char) -> Result<(TokenKind, usize), Refusal> {
    let rest = &text[at..];
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Ok((TokenKind::Symbol(symbol), symbol.len()));
    }
    match first {
        '"' | '\'' => quoted(text, at, first).map(|(text, length)| (TokenKind::Text(text), length)),
        '`' => quoted(text, at, first).map(|(name, length)| (TokenKind::Name(name), length)),
        _ if starts_number(rest) => {
            let length = number_length(rest);
            Ok((TokenKind::Number(rest[..length].to_owned()), length))
        }
        _ if first.is_alphabetic() || first == '_' => {
            let inside = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
            let length = rest.find(|letter| !inside(letter)).unwrap_or(rest.len());
            Ok((TokenKind::Word(rest[..length].to_owned()), length))
        }
        _ => Err(Refusal {
            at: at..at + first.len_utf8(),
            message: format!("unexpected `{first}`: write texts in quotes, odd field names in backquotes"),
        }),
    }
}

fn starts_number(rest: &str) -> bool {
    let unsigned = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let digits = unsigned.strip_prefix('.').unwrap_or(unsigned);
    digits.starts_with(|letter: char| letter.is_ascii_digit())
}

/// `-?digits[.digits][e[±]digits]`; letters that are no exponent belong to the next token, a unit.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = usize::from(rest.starts_with(['-', '+']));
    length += digits(length);
    if bytes.get(length) == Some(&b'.') {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'-' | b'+')));
        let exponent = digits((length + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}

/// Text between two quotes, with `\` before a quote or itself, `\n`, `\t` and `\u{…}`.
fn quoted(text: &str, at: usize, quote: char) -> Result<(String, usize), Refusal> {
    let mut content = String::new();
    let mut letters = text[at + 1..].char_indices().map(|(offset, letter)| (at + 1 + offset, letter));
    while let Some((place, letter)) = letters.next() {
        match letter {
            _ if letter == quote => return Ok((content, place + 1 - at)),
            '\\' => {
                let escape = letters.next();
                match escape.map(|(_, letter)| letter) {
                    Some('n') => content.push('\n'),
                    Some('t') => content.push('\t'),
                    Some('u') => content.push(code_point(&mut letters, place)?),
                    Some(letter @ ('\\' | '"' | '\'' | '`')) => content.push(letter),
                    _ => {
                        let end = escape.map_or(text.len(), |(place, letter)| place + letter.len_utf8());
                        return Err(Refusal {
                            at: place..end,
                            message: "unknown escape: use \\\\, \\\", \\n, \\t or \\u{…}".into(),
                        });
                    }
                }
            }
            _ => content.push(letter),
        }
    }
    Err(Refusal { at: at..at + 1, message: format!("this {quote} is never closed") })
}

fn code_point(letters: &mut impl Iterator<Item = (usize, char)>, start: usize) -> Result<char, Refusal> {
    let mut end = start + 2;
    let mut digits = String::new();
    let opened = letters.next().map(|(_, letter)| letter) == Some('{');
    for (place, letter) in letters {
        end = place + letter.len_utf8();
        if letter == '}' || digits.len() > 6 {
            break;
        }
        digits.push(letter);
    }
    let read = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).filter(|_| opened);
    read.ok_or_else(|| Refusal { at: start..end, message: "a code point is written as \\u{e9}".into() })
}
