//! What each of a table's indexes is to it, as their aliases say, and how the table moves from one to another. Pure.
//!
//! An alias that a call takes away has to be there, so that of two calls that decide on one index one wins: what is built
//! either comes to serve or is retired, and never both.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::layout::LIVE;
use super::names;

/// One of the table's indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub name: String,
    /// 0 where the read alias leads to an index of another name.
    pub generation: u32,
    pub role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The read alias leads to it.
    Serves { write_alias: Option<String> },
    /// It is built beside the one that serves, or was when a rebuild ended.
    Builds { build_alias: String },
    /// It is to be removed.
    Retired,
    /// It served, and somebody wants to have it.
    Kept,
    /// It is none of these: most likely it served, and the read alias was lost.
    Astray { write_alias: Option<String> },
}

/// The table's indexes among those that were found with their aliases, the oldest first.
pub(super) fn known(found: &BTreeMap<String, Vec<String>>, read_alias: &str) -> Vec<Known> {
    let one = |(name, aliases): (&String, &Vec<String>)| {
        let serves = aliases.iter().any(|alias| alias == read_alias);
        let generation = names::generation(name, read_alias);
        (serves || generation.is_some()).then(|| Known {
            name: name.clone(),
            generation: generation.unwrap_or(0),
            role: role(name, aliases, serves),
        })
    };
    let mut known: Vec<Known> = found.iter().filter_map(one).collect();
    known.sort_by_key(|known| known.generation);
    known
}

fn role(index: &str, aliases: &[String], serves: bool) -> Role {
    let has = |wanted: &String| aliases.contains(wanted);
    let write_alias = aliases.iter().find(|alias| names::is_write_alias(alias, index)).cloned();
    let build_alias = aliases.iter().find(|alias| names::is_build_alias(alias, index)).cloned();
    match build_alias {
        _ if serves => Role::Serves { write_alias },
        Some(build_alias) => Role::Builds { build_alias },
        None if has(&names::retired_alias(index)) => Role::Retired,
        None if has(&names::kept_alias(index)) => Role::Kept,
        None => Role::Astray { write_alias },
    }
}

/// A generation that no index has and none had as long as a younger one is there.
pub(super) fn next_generation(known: &[Known]) -> u32 {
    known.iter().map(|known| known.generation).max().unwrap_or(0) + 1
}

/// The actions of the one call that lets `new`, by its name and build alias, serve under `write_alias` in place of what
/// did; and what did, by name, with whether it is kept. One that somebody took the read alias from is kept in any case.
pub(super) fn moves(
    known: &[Known],
    new: (&str, &str),
    read_alias: &str,
    write_alias: &str,
    keep: bool,
) -> (Vec<Value>, Vec<(String, bool)>) {
    let ((index, build_alias), mut actions, mut replaced) = (new, Vec::new(), Vec::new());
    for old in known {
        let (serves, was) = match &old.role {
            Role::Serves { write_alias } => (true, write_alias.as_deref()),
            Role::Astray { write_alias: Some(write_alias) } => (false, Some(write_alias.as_str())),
            Role::Astray { write_alias: None } | Role::Builds { .. } | Role::Retired | Role::Kept => continue,
        };
        let gone = serves.then_some(read_alias).into_iter().chain(was);
        actions.extend(gone.map(|alias| remove(&old.name, alias)));
        let stays = keep || !serves;
        let after = if stays { names::kept_alias(&old.name) } else { names::retired_alias(&old.name) };
        actions.push(json!({ "add": { "index": old.name, "alias": after } }));
        replaced.push((old.name.clone(), stays));
    }
    actions.push(remove(index, build_alias));
    actions.push(json!({ "add": { "index": index, "alias": read_alias, "filter": { "term": { LIVE: true } } } }));
    actions.push(json!({ "add": { "index": index, "alias": write_alias } }));
    (actions, replaced)
}

/// The actions of the one call after which nobody writes to this index and it never serves.
pub(super) fn retires(index: &str, build_alias: &str) -> Vec<Value> {
    let retired = json!({ "add": { "index": index, "alias": names::retired_alias(index) } });
    vec![remove(index, build_alias), retired]
}

fn remove(index: &str, alias: &str) -> Value {
    json!({ "remove": { "index": index, "alias": alias, "must_exist": true } })
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "hw-t";

    fn found(indexes: &[(&str, &[&str])]) -> Vec<Known> {
        let owned = |aliases: &[&str]| aliases.iter().map(|alias| (*alias).to_owned()).collect();
        let all = indexes.iter().map(|(name, aliases)| ((*name).to_owned(), owned(aliases))).collect();
        known(&all, READ)
    }

    #[test]
    fn an_index_is_what_its_aliases_say() {
        let (write, build) = (names::write_alias("hw-t-000002", 7), names::build_alias("hw-t-000003", 8));
        let all = found(&[
            ("hw-t-000001", &["hw-t-000001-kept", "dashboards"]),
            ("hw-t-000002", &[READ, &write]),
            ("hw-t-000003", &[&build]),
            ("hw-t-000004", &["hw-t-000004-retired"]),
            ("hw-t-000005", &[]),
            ("hw-t-x-000001", &["hw-t-x"]),
        ]);
        let roles: Vec<_> = all.iter().map(|known| known.role.clone()).collect();
        assert_eq!(
            roles,
            [
                Role::Kept,
                Role::Serves { write_alias: Some(write) },
                Role::Builds { build_alias: build },
                Role::Retired,
                Role::Astray { write_alias: None },
            ]
        );
        assert_eq!(next_generation(&all), 6);
        let restored = found(&[("restored", &[READ])]);
        assert_eq!(restored[0].role, Role::Serves { write_alias: None });
        assert_eq!(next_generation(&restored), 1);
    }

    #[test]
    fn a_move_takes_every_way_to_the_old_index_and_needs_what_it_takes_to_be_there() {
        let (old, build) = (names::write_alias("hw-t-000001", 7), names::build_alias("hw-t-000003", 8));
        let all = found(&[
            ("hw-t-000001", &[READ, &old]),
            ("hw-t-000002", &[&names::build_alias("hw-t-000002", 9)]),
            ("hw-t-000003", &[&build]),
        ]);
        let (actions, replaced) = moves(&all, ("hw-t-000003", &build), READ, "new", false);
        assert_eq!(replaced, [("hw-t-000001".to_owned(), false)]);
        let gone: Vec<_> = actions.iter().filter_map(|action| action["remove"]["alias"].as_str()).collect();
        assert_eq!(gone, [READ, &old, &build]);
        assert!(actions.iter().all(|action| action["remove"].is_null() || action["remove"]["must_exist"] == true));
        let come: Vec<_> = actions.iter().filter_map(|action| action["add"]["alias"].as_str()).collect();
        assert_eq!(come, ["hw-t-000001-retired", READ, "new"]);
        assert_eq!(actions[4]["add"]["filter"], json!({ "term": { "_hw.live": true } }));
        let (actions, replaced) = moves(&all, ("hw-t-000003", &build), READ, "new", true);
        assert_eq!(actions[2]["add"]["alias"], "hw-t-000001-kept");
        assert_eq!(replaced, [("hw-t-000001".to_owned(), true)]);
    }

    #[test]
    fn an_index_that_lost_its_read_alias_can_be_written_no_more_and_is_kept_and_a_strangers_is_left_alone() {
        let old = names::write_alias("hw-t-000001", 7);
        let all = found(&[("hw-t-000001", &[&old]), ("hw-t-000002", &[])]);
        let (actions, replaced) = moves(&all, ("hw-t-000003", "b"), READ, "new", false);
        let gone: Vec<_> = actions.iter().filter_map(|action| action["remove"]["alias"].as_str()).collect();
        assert_eq!((gone, replaced), (vec![old.as_str(), "b"], vec![("hw-t-000001".to_owned(), true)]));
        assert_eq!(actions[1]["add"]["alias"], "hw-t-000001-kept");
    }
}
