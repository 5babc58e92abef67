//! YAML as a tree in which every node knows where it was written, so that settings from a file and from the environment
//! are one tree, and whatever is refused later, by its type or by its meaning, is refused with its place.
//!
//! Promises a place for every node, and the plain text of every scalar where text is asked for (`version: 1.10` read as
//! text is `1.10`). Refuses what YAML refuses, keys that occur twice, and numbers that are not finite.

mod de;
mod error;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MessageFormatter as _, Spanned, UserMessageFormatter};

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File {
        file: Arc<Path>,
        /// Line and column, both from 1.
        at: Option<(u64, u64)>,
    },
    Environment(Arc<str>),
}

impl Place {
    pub fn file(file: &Path) -> Place {
        Place::File { file: file.into(), at: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, at: Some((line, column)) } => write!(f, "{}:{line}:{column}", file.display()),
            Place::File { file, at: None } => write!(f, "{}", file.display()),
            Place::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// What was refused: the place, the field's path (such as `features[3].type`; empty for the whole) and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `None` where nothing was written: a required field with neither file nor environment variable.
    pub place: Option<Place>,
    pub path: String,
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub content: Content,
    /// The text of a scalar without quotes, as it was written.
    pub plain: Option<String>,
    pub place: Option<Place>,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub name: String,
    /// The name's own place; the value has another.
    pub place: Option<Place>,
    pub node: Node,
}

impl Node {
    /// A tree in which nothing was written.
    pub fn empty() -> Node {
        Node { content: Content::Null, plain: None, place: None }
    }

    /// Reads a file of one YAML document. An empty file is an empty tree.
    pub fn read(file: &Path) -> Result<Node, Fault> {
        let refused = |reason: String| Fault { place: Some(Place::file(file)), path: String::new(), reason };
        let bytes = std::fs::read(file).map_err(|error| refused(format!("cannot be read: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            refused(format!("is not UTF-8 at byte {}; save the file as UTF-8", error.utf8_error().valid_up_to()))
        })?;
        Node::parse(&text, file)
    }

    pub fn parse(text: &str, file: &Path) -> Result<Node, Fault> {
        let file: Arc<Path> = file.into();
        Node::parse_at(text, &|location| {
            let at = (location.line() > 0).then(|| (location.line(), location.column()));
            Place::File { file: file.clone(), at }
        })
    }

    /// Reads the value of an environment variable: quoted text, a list in `[…]` and a map in `{…}` are YAML, anything
    /// else one plain scalar, whatever characters it holds.
    pub fn of_variable(name: &str, value: &str) -> Result<Node, Fault> {
        let place = Place::Environment(name.into());
        let structured = value.trim_start().starts_with(['[', '{', '"', '\'']);
        let parsed = Node::parse_at(value, &|_| place.clone());
        match parsed {
            Ok(node) if structured || !matches!(node.content, Content::List(_) | Content::Map(_)) => {
                let plain = (!structured).then(|| value.to_owned());
                Ok(Node { plain, ..node })
            }
            Err(fault) if structured => Err(fault),
            _ => Ok(Node { content: Content::Text(value.to_owned()), plain: None, place: Some(place) }),
        }
    }

    fn parse_at(text: &str, place: &dyn Fn(Location) -> Place) -> Result<Node, Fault> {
        let options = serde_saphyr::options! { with_snippet: false };
        match serde_saphyr::from_str_with_options::<Option<Spanned<Raw>>>(text, options) {
            Ok(Some(raw)) => Ok(located(raw, text, place)),
            Ok(None) => Ok(Node { place: Some(place(Location::UNKNOWN)), ..Node::empty() }),
            Err(error) => {
                let error = error.without_snippet();
                let reason = UserMessageFormatter.format_message(error).escape_debug().to_string();
                let location = error.location().unwrap_or(Location::UNKNOWN);
                Err(Fault { place: Some(place(location)), path: String::new(), reason })
            }
        }
    }

    /// The tree as a `T`; what does not fit is refused with its place and path.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(de::De::root(self)).map_err(error::Error::into_fault)
    }

    /// The place of `path` (fields by `.`, list elements by `[n]`), or of the innermost part of it that was written.
    pub fn locate(&self, path: &str) -> Option<Place> {
        let mut node = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (&node.content, step.strip_suffix(']')) {
                (Content::List(list), Some(index)) => index.parse().ok().and_then(|index: usize| list.get(index)),
                (Content::Map(map), None) => map.iter().find(|entry| entry.name == step).map(|entry| &entry.node),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.place.clone()
    }

    /// A refusal of what stands at `path`.
    pub fn refuse(&self, path: &str, reason: impl Into<String>) -> Fault {
        Fault { place: self.locate(path), path: path.to_owned(), reason: reason.into() }
    }
}

/// What serde-saphyr gives, before it is turned into nodes that outlive the source text.
enum Raw {
    Scalar(Content),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> serde::Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;
        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Scalar(Content::Null))
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Scalar(Content::Null))
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
                deserializer.deserialize_any(self)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Scalar(Content::Bool(value)))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
                Ok(Raw::Scalar(Content::Unsigned(value)))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Scalar(u64::try_from(value).map_or(Content::Signed(value), Content::Unsigned)))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
                Ok(Raw::Scalar(Content::Float(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
                Ok(Raw::Scalar(Content::Text(value.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = seq.next_element()? {
                    list.push(element);
                }
                Ok(Raw::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }
        deserializer.deserialize_any(RawVisitor)
    }
}

fn located(raw: Spanned<Raw>, source: &str, place: &dyn Fn(Location) -> Place) -> Node {
    let content = match raw.value {
        Raw::Scalar(content) => content,
        Raw::List(list) => Content::List(list.into_iter().map(|element| located(element, source, place)).collect()),
        Raw::Map(map) => Content::Map(
            map.into_iter()
                .map(|(name, value)| Entry {
                    place: Some(place(name.referenced)),
                    name: name.value,
                    node: located(value, source, place),
                })
                .collect(),
        ),
    };
    let plain = match content {
        Content::Bool(_) | Content::Unsigned(_) | Content::Signed(_) | Content::Float(_) => {
            slice(source, raw.defined).map(str::to_owned)
        }
        _ => None,
    };
    Node { content, plain, place: Some(place(raw.referenced)) }
}

fn slice(source: &str, location: Location) -> Option<&str> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    source.get(start..start.checked_add(length)?).map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parse(text: &str) -> Node {
        Node::parse(text, Path::new("a.yaml")).unwrap()
    }

    fn refusal(text: &str) -> String {
        Node::parse(text, Path::new("a.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn every_node_knows_its_place() {
        let tree = parse("a: 1\nb:\n  - x\n  - c: {d: 5}\n");
        let place = |path: &str| tree.locate(path).unwrap().to_string();
        assert_eq!(place("a"), "a.yaml:1:4");
        assert_eq!(place("b[1].c.d"), "a.yaml:4:12");
        assert_eq!(place("b[1].c.absent"), "a.yaml:4:8");
        assert_eq!(place("b[7]"), "a.yaml:3:3");
    }

    #[test]
    fn text_is_as_it_was_written_whatever_yaml_takes_it_for() {
        let tree = parse("a: 1.10\nb: 007\nc: 'x'\nd: true\ne: &anchor 1e3\nf: *anchor\n");
        let texts: BTreeMap<String, String> = tree.deserialize().unwrap();
        let texts: Vec<&str> = texts.values().map(String::as_str).collect();
        assert_eq!(texts, ["1.10", "007", "x", "true", "1e3", "1e3"]);
    }

    #[test]
    fn what_yaml_refuses_is_refused_with_its_place() {
        assert_eq!(refusal("a: 1\na: 2\n"), "a.yaml:2:1: duplicate mapping key `a` is not allowed here");
        assert!(refusal("a: [1, 2\nb: 3\n").starts_with("a.yaml:2:"), "{}", refusal("a: [1, 2\nb: 3\n"));
        assert!(refusal("a: 1\n---\nb: 2\n").starts_with("a.yaml:"), "{}", refusal("a: 1\n---\nb: 2\n"));
        assert_eq!(
            Node::read(Path::new("/nowhere/a.yaml")).unwrap_err().to_string(),
            "/nowhere/a.yaml: cannot be read: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn an_empty_file_is_an_empty_map() {
        for text in ["", "# nothing\n", "---\n"] {
            assert_eq!(parse(text).deserialize::<BTreeMap<String, String>>().unwrap(), BTreeMap::new(), "{text:?}");
        }
    }
}
