//! The query language, by recursive descent. Every refusal names its place; fields and types are checked here, where
//! the place is known.
//!
//! ```text
//! query     = [ or ]                                  nothing, or `*`, is everything
//! or        = and { "or" and }
//! and       = unary { "and" unary }
//! unary     = "not" unary | "(" or ")" | "exists" "(" field ")" | distance compare length | field predicate
//! predicate = ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value | "prefix" text | ":" text | "in" "(" value { "," value } ")"
//! distance  = "distance" "(" field "," lat "," lon ")"
//! length    = number unit                             m, km, mi, nmi, ft
//! sort      = [ ( field | distance ) [ "asc" | "desc" ] { "," … } ]
//! ```

use std::ops::{Bound, Range};

use headwater_common::number::Number;

use super::cursor::Parser;
use super::lexer::{Refusal, TokenKind, tokens};
use super::syntax_error::SyntaxError;
use super::{
    Literal, Query, QueryError, Sort, SortBy, can_match, can_measure, can_prefix, can_range, can_sort, known, operand,
};
use crate::geo::GeoPoint;
use crate::mapping::{Field, Mapping};

/// Nesting that is read; deeper is refused before it takes the stack.
const MAX_NESTING: usize = 64;

const UNITS: [(&str, f64); 5] = [("m", 1.0), ("km", 1000.0), ("mi", 1609.344), ("nmi", 1852.0), ("ft", 0.3048)];

/// Reads a query on items of this mapping.
pub fn parse(text: &str, mapping: &Mapping) -> Result<Query, SyntaxError> {
    read(text, mapping, |parser| {
        if parser.peek().kind == TokenKind::End {
            return Ok(Query::All);
        }
        let query = parser.or()?;
        parser.end("`and`, `or` or the end")?;
        Ok(query)
    })
}

/// Reads an order, such as `delay desc, distance(position, 40.6, -73.8)`.
pub fn parse_sort(text: &str, mapping: &Mapping) -> Result<Vec<Sort>, SyntaxError> {
    read(text, mapping, |parser| {
        let mut sorts = Vec::new();
        if parser.peek().kind == TokenKind::End {
            return Ok(sorts);
        }
        loop {
            sorts.push(parser.sort()?);
            if !parser.take_symbol(",") {
                break;
            }
        }
        parser.end("`asc`, `desc`, `,` or the end")?;
        Ok(sorts)
    })
}

fn read<T>(
    text: &str,
    mapping: &Mapping,
    rule: impl FnOnce(&mut Parser<'_>) -> Result<T, Refusal>,
) -> Result<T, SyntaxError> {
    let parsed = tokens(text).and_then(|tokens| rule(&mut Parser { tokens, next: 0, mapping, nesting: 0 }));
    parsed.map_err(|refusal| SyntaxError::new(text, refusal))
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Query, Refusal> {
        let mut parts = vec![self.and()?];
        while self.take_word("or") {
            parts.push(self.and()?);
        }
        Ok(joined(parts, Query::Or))
    }

    fn and(&mut self) -> Result<Query, Refusal> {
        let mut parts = vec![self.unary()?];
        while self.take_word("and") {
            parts.push(self.unary()?);
        }
        Ok(joined(parts, Query::And))
    }

    fn unary(&mut self) -> Result<Query, Refusal> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.refuse(format!("nested more than {MAX_NESTING} deep")));
        }
        let query = self.unary_inside();
        self.nesting -= 1;
        query
    }

    fn unary_inside(&mut self) -> Result<Query, Refusal> {
        if self.take_symbol("*") {
            return Ok(Query::All);
        }
        if self.take_symbol("(") {
            let query = self.or()?;
            self.symbol(")", "`and`, `or` or `)`")?;
            return Ok(query);
        }
        if self.take_word("not") {
            return Ok(Query::Not(Box::new(self.unary()?)));
        }
        if self.take_call("exists") {
            let (field, _) = self.field()?;
            self.symbol(")", "`)`")?;
            return Ok(Query::Exists { field: field.name.clone() });
        }
        if self.take_call("distance") {
            return self.within();
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Result<Query, Refusal> {
        let (field, at) = self.field()?;
        let name = field.name.clone();
        let placed = |checked: Result<(), QueryError>| {
            checked.map_err(|QueryError(message)| Refusal { at: at.clone(), message })
        };
        if self.take_word("prefix") {
            placed(can_prefix(field))?;
            return Ok(Query::Prefix { field: name, prefix: self.text("the prefix in quotes")? });
        }
        if self.take_symbol(":") {
            placed(can_match(field))?;
            return Ok(Query::Match { field: name, text: self.text("the words in quotes")? });
        }
        if self.take_word("in") {
            return self.one_of(field);
        }
        let Some(symbol) = self.comparison() else {
            return Err(self.expected("`=`, `!=`, `<`, `<=`, `>`, `>=`, `:`, `prefix` or `in`"));
        };
        if !matches!(symbol, "=" | "!=" | "<>") {
            placed(can_range(field))?;
        }
        let value = self.value(field)?;
        let range = |lower, upper| Query::Range { field: name.clone(), lower, upper };
        Ok(match symbol {
            "=" => Query::Term { field: name, value },
            "<" => range(Bound::Unbounded, Bound::Excluded(value)),
            "<=" => range(Bound::Unbounded, Bound::Included(value)),
            ">" => range(Bound::Excluded(value), Bound::Unbounded),
            ">=" => range(Bound::Included(value), Bound::Unbounded),
            _ => Query::Not(Box::new(Query::Term { field: name, value })),
        })
    }

    fn one_of(&mut self, field: &Field) -> Result<Query, Refusal> {
        self.symbol("(", "`(` and the values")?;
        let mut parts = Vec::new();
        loop {
            parts.push(Query::Term { field: field.name.clone(), value: self.value(field)? });
            if !self.take_symbol(",") {
                break;
            }
        }
        self.symbol(")", "`,` or `)`")?;
        Ok(joined(parts, Query::Or))
    }

    /// The rest of `distance(field, lat, lon) < length`.
    fn within(&mut self) -> Result<Query, Refusal> {
        let (field, centre) = self.measured()?;
        let Some(symbol) = self.comparison().filter(|symbol| !matches!(*symbol, "=" | "!=" | "<>")) else {
            return Err(self.expected("`<`, `<=`, `>` or `>=` and a length, such as `< 10km`"));
        };
        let metres = self.length()?;
        let circle = |inclusive| Query::Geo { field: field.clone(), centre, metres, inclusive };
        let beyond = |inclusive| {
            Query::And(vec![Query::Exists { field: field.clone() }, Query::Not(Box::new(circle(inclusive)))])
        };
        Ok(match symbol {
            "<" => circle(false),
            "<=" => circle(true),
            ">" => beyond(true),
            _ => beyond(false),
        })
    }

    /// `field, lat, lon)`.
    fn measured(&mut self) -> Result<(String, GeoPoint), Refusal> {
        let (field, at) = self.field()?;
        can_measure(field).map_err(|QueryError(message)| Refusal { at, message })?;
        self.symbol(",", "`,` and the latitude")?;
        let lat = self.degrees(90.0, "a latitude from -90 to 90")?;
        self.symbol(",", "`,` and the longitude")?;
        let lon = self.degrees(180.0, "a longitude from -180 to 180")?;
        self.symbol(")", "`)`")?;
        Ok((field.name.clone(), GeoPoint { lat, lon }))
    }

    fn degrees(&mut self, limit: f64, what: &str) -> Result<f64, Refusal> {
        match &self.peek().kind {
            TokenKind::Number(number) => match number.parse::<f64>() {
                Ok(degrees) if degrees.abs() <= limit => {
                    self.next += 1;
                    Ok(degrees)
                }
                _ => Err(self.expected(what)),
            },
            _ => Err(self.expected(what)),
        }
    }

    fn length(&mut self) -> Result<f64, Refusal> {
        const WHAT: &str = "a length such as `500m`, `10km`, `5mi` or `3nmi`";
        let TokenKind::Number(number) = &self.peek().kind else { return Err(self.expected(WHAT)) };
        let Some(number) = number.parse::<f64>().ok().filter(|number| *number >= 0.0 && number.is_finite()) else {
            return Err(self.expected(WHAT));
        };
        self.next += 1;
        let TokenKind::Word(unit) = &self.peek().kind else {
            return Err(self.expected("a unit: m, km, mi, nmi or ft"));
        };
        let Some((_, metres)) = UNITS.iter().find(|(name, _)| *name == unit.to_lowercase()) else {
            return Err(self.expected("a unit: m, km, mi, nmi or ft"));
        };
        self.next += 1;
        Ok(number * metres)
    }

    fn sort(&mut self) -> Result<Sort, Refusal> {
        let by = if self.take_call("distance") {
            let (field, from) = self.measured()?;
            SortBy::Distance { field, from }
        } else {
            let (field, at) = self.field()?;
            can_sort(field).map_err(|QueryError(message)| Refusal { at, message })?;
            SortBy::Field(field.name.clone())
        };
        let descending = self.take_word("desc");
        if !descending {
            self.take_word("asc");
        }
        Ok(Sort { by, descending })
    }

    fn value(&mut self, field: &Field) -> Result<Literal, Refusal> {
        let token = self.peek();
        let literal = match &token.kind {
            TokenKind::Text(text) => Literal::Text(text.clone()),
            TokenKind::Number(number) => match Number::parse(number.clone()) {
                Ok(number) => Literal::Number(number),
                Err(_) => return Err(self.refuse("no number that can be compared".to_owned())),
            },
            TokenKind::Word(word) if word.eq_ignore_ascii_case("true") => Literal::Bool(true),
            TokenKind::Word(word) if word.eq_ignore_ascii_case("false") => Literal::Bool(false),
            _ => return Err(self.expected("a value: a text in quotes, a number, true or false")),
        };
        operand(field, &literal).map_err(|QueryError(message)| self.refuse(message))?;
        self.next += 1;
        if let (Literal::Number(_), TokenKind::Word(_) | TokenKind::Number(_)) = (&literal, &self.peek().kind)
            && self.touches_the_last()
        {
            return Err(self.refuse("a number and more together: write moments, days and texts in quotes".to_owned()));
        }
        Ok(literal)
    }

    fn field(&mut self) -> Result<(&'a Field, Range<usize>), Refusal> {
        let token = self.peek();
        let at = token.at.clone();
        let (TokenKind::Word(name) | TokenKind::Name(name)) = &token.kind else {
            return Err(self.expected("a field's name"));
        };
        let mapping = self.mapping;
        let field = known(mapping, name).map_err(|QueryError(message)| Refusal { at: at.clone(), message })?;
        self.next += 1;
        Ok((field, at))
    }
}

fn joined(mut parts: Vec<Query>, join: fn(Vec<Query>) -> Query) -> Query {
    if parts.len() == 1 { parts.remove(0) } else { join(parts) }
}
