//! Which shards there are, which may be read, and what was lost: decisions over the ledger and the last listings.
//!
//! Promises that a shard is read only when its parents are finished or gone and every older stream of the table is
//! drained, and that nothing is given up without a gap. Assumes that the ledger holds committed entries only.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::ledger::{GapCause, GapEntry, Ledger, LedgerEntry, ShardEntry, ShardStatus, StreamEntry};
use headwater_common::order::{SequenceNumber, Version};

use crate::streams::{Listing, Listings, ShardKey, StreamStatus};

/// How long a stream holds a record, at least.
pub const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// How long a finished shard is remembered, at least, so that a late listing does not have it read again.
const REMEMBERED: Duration = Duration::from_secs(48 * 3600);

/// In place of a shard where a gap is a whole stream's.
const WHOLE_STREAM: &str = "*";

/// The entries that record which stream the table has now; none when that is known. Another stream than before closes
/// the last generation with a gap, since what was written between the two is in neither.
pub fn openings(ledger: &Ledger, table: &TableName, current: &StreamArn, now: Timestamp) -> Vec<LedgerEntry> {
    let known: Vec<&StreamEntry> = ledger.streams.values().filter(|entry| entry.table == *table).collect();
    // A stream that was closed does not come back: an answer that names it is an old one.
    if known.iter().any(|entry| entry.stream == *current) {
        return Vec::new();
    }
    let generation = known.iter().map(|entry| entry.generation).max().unwrap_or(0) + 1;
    let mut entries = Vec::new();
    for old in known.into_iter().filter(|entry| !entry.closed) {
        entries.push(LedgerEntry::Stream(StreamEntry { closed: true, since: now, ..old.clone() }));
        entries.push(LedgerEntry::Gap(GapEntry {
            table: table.clone(),
            stream: old.stream.clone(),
            generation: old.generation,
            shard: ShardId::new(WHOLE_STREAM),
            from: None,
            to: None,
            cause: GapCause::StreamReplaced,
            found: now,
            repaired: None,
        }));
    }
    let (table, stream) = (table.clone(), current.clone());
    entries.push(LedgerEntry::Stream(StreamEntry { table, stream, generation, since: now, closed: false }));
    entries
}

/// Entries for the listed shards that the ledger lacks.
pub fn unrecorded(ledger: &Ledger, stream: &StreamEntry, listing: &Listing, now: Timestamp) -> Vec<ShardEntry> {
    let known = |shard: &ShardId| ledger.shards.contains_key(&(stream.stream.clone(), shard.clone()));
    let entry = |listed: &crate::streams::ListedShard| ShardEntry {
        table: stream.table.clone(),
        stream: stream.stream.clone(),
        generation: stream.generation,
        shard: listed.id.clone(),
        parents: listed.parent.iter().cloned().collect(),
        status: ShardStatus::Open,
        position: None,
        last_version: Version::ZERO,
        complete_until: Timestamp::EPOCH,
        since: now,
    };
    listing.shards.values().filter(|listed| !known(&listed.id)).map(entry).collect()
}

/// The open shards of `table` that may be read now.
pub fn startable<'a>(
    ledger: &'a Ledger,
    listings: &Listings,
    table: &TableName,
    split_settle: Duration,
    now: Timestamp,
) -> Vec<&'a ShardEntry> {
    let undrained = ledger
        .streams
        .values()
        .filter(|entry| entry.table == *table && !drained(ledger, listings, entry, split_settle, now))
        .map(|entry| entry.generation)
        .min();
    let open = ledger.shards.values().filter(|entry| entry.table == *table && entry.status == ShardStatus::Open);
    open.filter(|entry| undrained.is_none_or(|generation| entry.generation <= generation))
        .filter(|entry| entry.parents.iter().all(|parent| passed(ledger, listings, entry, parent, split_settle)))
        .collect()
}

/// Whether a parent keeps `child` from being read no longer: it was read to its end, or nobody knows it. One that the
/// listing lacks may only be late, as any shard may, and its child's child early.
fn passed(ledger: &Ledger, listings: &Listings, child: &ShardEntry, parent: &ShardId, split_settle: Duration) -> bool {
    match ledger.shards.get(&(child.stream.clone(), parent.clone())) {
        Some(entry) => entry.status != ShardStatus::Open,
        None => listings.get(&child.stream).is_some_and(|listing| {
            listing.begun >= child.since.plus(split_settle) && !listing.shards.contains_key(parent)
        }),
    }
}

/// Whether a stream that the table has no longer is read to its end. A child may still turn up in its listing for a
/// while after the stream was closed.
fn drained(ledger: &Ledger, listings: &Listings, stream: &StreamEntry, split_settle: Duration, now: Timestamp) -> bool {
    let open = ledger.shards.values().any(|shard| shard.stream == stream.stream && shard.status == ShardStatus::Open);
    let settled = stream.since.plus(split_settle);
    let listed = listings.get(&stream.stream).is_some_and(|listing| {
        let recorded = |shard| ledger.shards.contains_key(&(stream.stream.clone(), ShardId::clone(shard)));
        listing.begun >= settled && listing.shards.keys().all(recorded)
    });
    stream.closed && !open && (listed || now.since(stream.since) >= RETENTION)
}

/// The streams to list beside the table's current one: those that still have something to read.
pub fn older_streams(ledger: &Ledger, table: &TableName, now: Timestamp) -> Vec<StreamArn> {
    let open = |stream: &StreamArn| {
        ledger.shards.values().any(|shard| shard.stream == *stream && shard.status == ShardStatus::Open)
    };
    let wanted = |entry: &&StreamEntry| {
        entry.table == *table && (!entry.closed || now.since(entry.since) < RETENTION || open(&entry.stream))
    };
    ledger.streams.values().filter(wanted).map(|entry| entry.stream.clone()).collect()
}

/// The version that the shard's numbering goes on from: its own, or above the parents' and every older stream's.
pub fn inherited(ledger: &Ledger, entry: &ShardEntry) -> Version {
    let older = |other: &&ShardEntry| {
        let same_stream = other.stream == entry.stream && entry.parents.contains(&other.shard);
        same_stream || (other.table == entry.table && other.generation < entry.generation)
    };
    let before = ledger.shards.values().filter(older).map(|other| other.last_version).max();
    entry.last_version.max(before.unwrap_or_default())
}

/// What a reader has found of a shard that it can't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub since: Timestamp,
    /// All that was in it is trimmed; otherwise the service does not know it.
    pub emptied: bool,
}

/// Shards that can't be read and that a listing begun later lacks too, or shows although what is unread in them is past
/// the retention: they are lost, and with them what was unread. The gap is left out where it is recorded already, and
/// where what is lost is older than the pipeline.
pub fn vanished(
    ledger: &Ledger,
    listings: &Listings,
    missing: &BTreeMap<ShardKey, Unreadable>,
    split_settle: Duration,
    now: Timestamp,
) -> Vec<(ShardEntry, Option<GapEntry>)> {
    let lost = |(key, unreadable): (&ShardKey, &Unreadable)| {
        let entry = ledger.shards.get(key).filter(|entry| entry.status == ShardStatus::Open)?;
        let listing = listings.get(&key.0).filter(|listing| listing.begun > unreadable.since)?;
        let mut streams = ledger.streams.values().filter(|stream| stream.stream == key.0);
        let stream = streams.next();
        if listing.shards.contains_key(&key.1) {
            // Some servers list a shard for hours after they dropped what was in it. One that is young may have come to
            // the list before it came to its readers.
            let settled = listing.begun >= unreadable.since.plus(split_settle) && past_retention(entry, now);
            let older = entry.position.is_none() && stream.is_some_and(|stream| now.since(stream.since) < RETENTION);
            let recorded = ledger.open_gaps().any(|gap| unended(gap, entry));
            let (entry, gap) = (unreadable.emptied || settled).then(|| lose(entry, now))?;
            return Some((entry, (!recorded && !older).then_some(gap)));
        }
        // A current stream that is not known may come back: the table's owner is asked first.
        let gone = listing.status != StreamStatus::Absent || stream.is_some_and(|stream| stream.closed);
        let (entry, gap) = gone.then(|| lose(entry, now))?;
        Some((entry, Some(gap)))
    };
    missing.iter().filter_map(lost).collect()
}

/// A range of this shard that was trimmed, and of which the end is not known yet.
pub fn unended(gap: &GapEntry, entry: &ShardEntry) -> bool {
    let same = gap.stream == entry.stream && gap.shard == entry.shard;
    same && gap.to.is_none() && (entry.position.is_none() || entry.position == gap.from)
}

/// Whether a stream need not hold any longer what is unread in the shard: it was read for the last time too long ago,
/// or it was opened too long ago.
fn past_retention(entry: &ShardEntry, now: Timestamp) -> bool {
    let opened = opened(&entry.shard).filter(|opened| *opened <= now);
    let since = opened.map_or(attended(entry), |opened| opened.min(attended(entry)));
    now.since(since) >= RETENTION
}

/// When a shard was opened, by its id: `shardId-`, milliseconds, and a suffix. Nobody promises that form, so it may only
/// shorten a wait.
fn opened(shard: &ShardId) -> Option<Timestamp> {
    let millis = shard.as_str().strip_prefix("shardId-")?.split('-').next()?.parse().ok()?;
    const FIRST_STREAM: i64 = 1_400_000_000_000;
    (millis >= FIRST_STREAM).then(|| Timestamp::from_millis(millis))
}

/// Finished shards whose children were never seen, although a day has passed and the service has forgotten the parent:
/// the children's data is lost.
pub fn orphaned(ledger: &Ledger, listings: &Listings, now: Timestamp) -> Vec<(ShardEntry, GapEntry)> {
    let childless = |entry: &&ShardEntry| {
        let child = |other: &ShardEntry| other.stream == entry.stream && other.parents.contains(&entry.shard);
        !ledger.shards.values().any(child)
    };
    let forgotten = |entry: &&ShardEntry| {
        let replaced = ledger.streams.values().any(|stream| stream.stream == entry.stream && stream.closed);
        let listing = listings.get(&entry.stream).filter(|listing| listing.status == StreamStatus::Enabled);
        listing.is_some_and(|listing| {
            !replaced && !listing.shards.contains_key(&entry.shard) && listing.begun >= entry.since.plus(RETENTION)
        })
    };
    let finished = ledger.shards.values().filter(|entry| entry.status == ShardStatus::Finished);
    finished.filter(forgotten).filter(childless).map(|entry| lose(entry, now)).collect()
}

fn lose(entry: &ShardEntry, now: Timestamp) -> (ShardEntry, GapEntry) {
    let gap = gap(entry, GapCause::ShardVanished, now);
    (ShardEntry { status: ShardStatus::Lost, since: now, ..entry.clone() }, gap)
}

/// A gap that begins after the last record of `entry` that was committed.
pub fn gap(entry: &ShardEntry, cause: GapCause, now: Timestamp) -> GapEntry {
    GapEntry {
        table: entry.table.clone(),
        stream: entry.stream.clone(),
        generation: entry.generation,
        shard: entry.shard.clone(),
        from: entry.position.clone(),
        to: None,
        cause,
        found: now,
        repaired: None,
    }
}

/// The gap of a shard that was left unread for longer than a stream holds records, where the service may have dropped
/// some without an error: it does not fail for a shard that is read from its beginning, and some servers never do.
/// `first` is the first record that the service still shows.
pub fn overslept(entry: &ShardEntry, first: Option<&SequenceNumber>, now: Timestamp) -> Option<GapEntry> {
    let cut = first.is_some_and(|first| entry.position.as_ref().is_none_or(|position| position < first));
    (cut && now.since(attended(entry)) >= RETENTION).then(|| gap(entry, GapCause::Trimmed, now))
}

/// When an open shard was last known to hold nothing unread that is older.
pub fn attended(entry: &ShardEntry) -> Timestamp {
    entry.complete_until.max(entry.since)
}

/// Shards to forget: done with for 48 h, no longer listed, their children taken up, and nothing inherits from them.
pub fn forgettable<'a>(ledger: &'a Ledger, listings: &Listings, now: Timestamp) -> Vec<&'a ShardEntry> {
    let needed = |entry: &ShardEntry| {
        let mut children = ledger
            .shards
            .values()
            .filter(|other| other.stream == entry.stream && other.parents.contains(&entry.shard))
            .peekable();
        let childless = children.peek().is_none() && entry.status == ShardStatus::Finished;
        let last_stream = ledger.current_stream(&entry.table).is_none_or(|stream| stream.stream == entry.stream);
        (childless && last_stream) || children.any(|child| child.position.is_none())
    };
    let listed = |entry: &ShardEntry| match listings.get(&entry.stream) {
        Some(listing) => listing.shards.contains_key(&entry.shard),
        None => ledger.current_stream(&entry.table).is_none_or(|stream| stream.stream == entry.stream),
    };
    let done = |entry: &&ShardEntry| entry.status != ShardStatus::Open && now.since(entry.since) >= REMEMBERED;
    ledger.shards.values().filter(done).filter(|entry| !listed(entry) && !needed(entry)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::streams::{KeySchema, ListedShard, ViewType};

    pub(crate) const ARN: &str = "arn/1";

    const SETTLE: Duration = Duration::from_millis(5);

    fn unreadable(shard: &str, since: i64, emptied: bool) -> BTreeMap<ShardKey, Unreadable> {
        BTreeMap::from([((StreamArn::new(ARN), ShardId::new(shard)), Unreadable { since: at(since), emptied })])
    }

    pub(crate) fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    pub(crate) fn stream(arn: &str, generation: u32, closed: bool) -> StreamEntry {
        let (table, stream) = (TableName::new("t"), StreamArn::new(arn));
        StreamEntry { table, stream, generation, since: at(0), closed }
    }

    pub(crate) fn shard(id: &str, parents: &[&str], status: ShardStatus, until: i64) -> ShardEntry {
        ShardEntry {
            table: TableName::new("t"),
            stream: StreamArn::new(ARN),
            generation: 1,
            shard: ShardId::new(id),
            parents: parents.iter().map(|id| ShardId::new(*id)).collect(),
            status,
            position: SequenceNumber::parse("7").ok(),
            last_version: Version::new(10).unwrap(),
            complete_until: at(until),
            since: at(100),
        }
    }

    pub(crate) fn ledger(streams: &[StreamEntry], shards: &[ShardEntry]) -> Ledger {
        let mut ledger = Ledger::default();
        streams.iter().for_each(|entry| ledger.apply(LedgerEntry::Stream(entry.clone())));
        shards.iter().for_each(|entry| ledger.apply(LedgerEntry::Shard(entry.clone())));
        ledger
    }

    pub(crate) fn listing(arn: &str, begun: i64, shards: &[(&str, Option<&str>)]) -> Listings {
        let listed = |(id, parent): &(&str, Option<&str>)| {
            let (id, parent) = (ShardId::new(*id), parent.map(ShardId::new));
            (id.clone(), ListedShard { id, parent, first: None })
        };
        let listing = Listing {
            stream: StreamArn::new(arn),
            begun: at(begun),
            status: StreamStatus::Enabled,
            view: ViewType::NewImage,
            keys: KeySchema::default(),
            shards: shards.iter().map(listed).collect(),
        };
        Listings::from([(listing.stream.clone(), listing)])
    }

    fn started(ledger: &Ledger, listings: &Listings, now: i64) -> Vec<String> {
        let settle = Duration::from_millis(50);
        let shards = startable(ledger, listings, &TableName::new("t"), settle, at(now));
        shards.into_iter().map(|entry| entry.shard.to_string()).collect()
    }

    use ShardStatus::{Finished, Lost, Open};

    #[test]
    fn a_child_waits_until_its_parent_is_finished_lost_or_gone() {
        let with = |parent: ShardEntry| ledger(&[stream(ARN, 1, false)], &[parent, shard("b", &["a"], Open, 0)]);
        let none = Listings::new();
        assert_eq!(started(&with(shard("a", &[], Open, 0)), &none, 0), ["a"]);
        assert_eq!(started(&with(shard("a", &[], Finished, 0)), &none, 0), ["b"]);
        assert_eq!(started(&with(shard("a", &[], Lost, 0)), &none, 0), ["b"]);
        let alone = ledger(&[stream(ARN, 1, false)], &[shard("b", &["a"], Open, 0)]);
        assert_eq!(started(&alone, &none, 0), [""; 0], "the parent may be listed and not recorded yet");
        assert_eq!(started(&alone, &listing(ARN, 1, &[("a", None), ("b", Some("a"))]), 0), [""; 0]);
        let childs = [("b", Some("a"))];
        assert_eq!(started(&alone, &listing(ARN, 149, &childs), 0), [""; 0], "the parent may be listed late");
        assert_eq!(started(&alone, &listing(ARN, 150, &childs), 0), ["b"]);
    }

    #[test]
    fn only_what_the_ledger_lacks_is_recorded() {
        let ledger = ledger(&[stream(ARN, 1, false)], &[shard("a", &[], Finished, 0)]);
        let listings = listing(ARN, 1, &[("a", None), ("b", Some("a")), ("c", Some("a"))]);
        let new = unrecorded(&ledger, &stream(ARN, 1, false), &listings[&StreamArn::new(ARN)], at(5));
        let ids: Vec<_> = new.iter().map(|entry| (entry.shard.as_str(), entry.parents[0].as_str())).collect();
        assert_eq!(ids, [("b", "a"), ("c", "a")]);
        assert!(new.iter().all(|entry| entry.since == at(5) && entry.status == Open && entry.position.is_none()));
    }

    #[test]
    fn another_stream_closes_the_generation_with_a_gap_and_an_old_answer_changes_nothing() {
        let table = TableName::new("t");
        let mut ledger = Ledger::default();
        let first = openings(&ledger, &table, &StreamArn::new("one"), at(1));
        assert_eq!(first.len(), 1);
        first.into_iter().for_each(|entry| ledger.apply(entry));
        assert_eq!(openings(&ledger, &table, &StreamArn::new("one"), at(2)), []);
        openings(&ledger, &table, &StreamArn::new("two"), at(3)).into_iter().for_each(|entry| ledger.apply(entry));
        assert_eq!(ledger.current_stream(&table).map(|entry| entry.generation), Some(2));
        let gaps: Vec<_> = ledger.open_gaps().collect();
        assert_eq!((gaps.len(), gaps[0].cause), (1, GapCause::StreamReplaced));
        assert_eq!(openings(&ledger, &table, &StreamArn::new("one"), at(4)), [], "a late answer");
    }

    #[test]
    fn a_new_stream_waits_until_the_old_one_is_drained_and_its_versions_are_above() {
        let mut new = shard("n", &[], Open, 0);
        (new.stream, new.generation, new.last_version) = (StreamArn::new("arn/2"), 2, Version::ZERO);
        let streams = [stream(ARN, 1, true), stream("arn/2", 2, false)];
        let draining = ledger(&streams, &[shard("a", &[], Open, 0), new.clone()]);
        assert_eq!(started(&draining, &listing(ARN, 99, &[("a", None)]), 99), ["a"]);
        let done = ledger(&streams, &[shard("a", &[], Finished, 0), new.clone()]);
        assert_eq!(started(&done, &listing(ARN, 49, &[("a", None)]), 99), [""; 0], "a child may still turn up");
        assert_eq!(started(&done, &listing(ARN, 50, &[("a", None)]), 99), ["n"]);
        assert_eq!(started(&done, &listing(ARN, 50, &[("a", None), ("b", Some("a"))]), 99), [""; 0]);
        assert_eq!(inherited(&done, &new), Version::new(10).unwrap());
    }

    #[test]
    fn a_child_goes_on_from_the_highest_version_of_its_parents() {
        let mut high = shard("b", &[], Finished, 0);
        high.last_version = Version::new(99).unwrap();
        let mut child = shard("c", &["a", "b"], Open, 0);
        child.last_version = Version::ZERO;
        let ledger = ledger(&[], &[shard("a", &[], Finished, 0), high, child.clone()]);
        assert_eq!(inherited(&ledger, &child), Version::new(99).unwrap());
    }

    #[test]
    fn a_shard_is_lost_only_when_a_later_listing_lacks_it_too() {
        let ledger = ledger(&[stream(ARN, 1, false)], &[shard("a", &[], Open, 0)]);
        let missing = unreadable("a", 10, false);
        assert_eq!(vanished(&ledger, &listing(ARN, 9, &[]), &missing, SETTLE, at(20)), []);
        assert_eq!(vanished(&ledger, &listing(ARN, 11, &[("a", None)]), &missing, SETTLE, at(20)), []);
        let mut absent = listing(ARN, 11, &[]);
        absent.values_mut().for_each(|listing| listing.status = StreamStatus::Absent);
        assert_eq!(vanished(&ledger, &absent, &missing, SETTLE, at(20)), [], "the current stream may come back");
        let lost = vanished(&ledger, &listing(ARN, 11, &[]), &missing, SETTLE, at(20));
        assert_eq!((lost[0].0.status, lost[0].1.as_ref().unwrap().cause), (Lost, GapCause::ShardVanished));
        assert_eq!(lost[0].1.as_ref().unwrap().from, SequenceNumber::parse("7").ok());
    }

    #[test]
    fn a_finished_shard_without_children_is_a_gap_once_the_service_has_forgotten_it() {
        let day = RETENTION.as_millis() as i64 + 100;
        let childless = ledger(&[stream(ARN, 1, false)], &[shard("a", &[], Finished, 0)]);
        assert_eq!(orphaned(&childless, &listing(ARN, day, &[("a", None)]), at(day)), []);
        assert_eq!(orphaned(&childless, &listing(ARN, day - 1, &[]), at(day)), []);
        assert_eq!(orphaned(&childless, &listing(ARN, day, &[]), at(day)).len(), 1);
        let parent = ledger(&[stream(ARN, 1, false)], &[shard("a", &[], Finished, 0), shard("b", &["a"], Open, 0)]);
        assert_eq!(orphaned(&parent, &listing(ARN, day, &[]), at(day)), []);
    }

    #[test]
    fn a_shard_left_unread_for_a_day_has_a_gap_unless_its_records_are_still_there() {
        let day = RETENTION.as_millis() as i64 + 100;
        let (seventh, eighth) = (SequenceNumber::parse("7").ok(), SequenceNumber::parse("8").ok());
        let read = shard("a", &[], Open, 50);
        assert_eq!(overslept(&read, eighth.as_ref(), at(day - 1)), None);
        assert_eq!(overslept(&read, seventh.as_ref(), at(day)), None, "the place is still there");
        assert_eq!(overslept(&read, eighth.as_ref(), at(day)).map(|gap| gap.from), Some(seventh.clone()));
        let unread = ShardEntry { position: None, ..read };
        assert_eq!(overslept(&unread, None, at(day)), None, "nothing was ever written");
        assert!(overslept(&unread, seventh.as_ref(), at(day)).is_some());
    }

    #[test]
    fn a_finished_shard_is_remembered_48_hours_and_as_long_as_it_is_listed_or_needed() {
        let late = REMEMBERED.as_millis() as i64 + 100;
        let mut child = shard("b", &["a"], Open, 0);
        let family =
            |child: &ShardEntry| ledger(&[stream(ARN, 1, false)], &[shard("a", &[], Finished, 0), child.clone()]);
        let gone = listing(ARN, late, &[("b", Some("a"))]);
        let count = |ledger: &Ledger, listings: &Listings, now| forgettable(ledger, listings, at(now)).len();
        assert_eq!(count(&family(&child), &gone, late), 1);
        assert_eq!(count(&family(&child), &gone, late - 1), 0);
        assert_eq!(count(&family(&child), &listing(ARN, late, &[("a", None)]), late), 0);
        child.position = None;
        assert_eq!(count(&family(&child), &gone, late), 0, "the child has not inherited its version yet");
        let leaf = ledger(&[stream(ARN, 1, false)], &[shard("a", &[], Finished, 0)]);
        assert_eq!(count(&leaf, &gone, late), 0, "its children are not known yet");
    }

    #[test]
    fn a_shard_that_is_listed_and_holds_nothing_is_lost_with_a_gap_unless_it_is_older_than_the_pipeline() {
        const DAY: i64 = 24 * 3_600_000;
        let (listed, emptied) = (listing(ARN, 10_000 + DAY, &[("a", None)]), unreadable("a", 10_000 + DAY - 1, true));
        let mut unread = shard("a", &[], Open, 0);
        unread.position = None;
        let with = |stream_since: i64, gaps: &[GapEntry]| {
            let mut ledger = ledger(&[], std::slice::from_ref(&unread));
            let since = at(stream_since);
            ledger.apply(LedgerEntry::Stream(StreamEntry { since, ..stream(ARN, 1, false) }));
            gaps.iter().for_each(|gap| ledger.apply(LedgerEntry::Gap(gap.clone())));
            ledger
        };
        let lost = |ledger: &Ledger| vanished(ledger, &listed, &emptied, SETTLE, at(10_001 + DAY));
        assert_eq!(lost(&with(0, &[]))[0].1.as_ref().unwrap().from, None);
        assert_eq!(lost(&with(20_000, &[]))[0].1, None, "what was trimmed was written before the stream was known");
        let recorded = gap(&shard("a", &[], Open, 0), GapCause::Trimmed, at(0));
        assert_eq!(lost(&with(0, &[recorded]))[0].1, None, "its gap is there");
    }

    #[test]
    fn a_shard_that_is_listed_and_unknown_is_lost_only_when_it_is_past_the_retention() {
        const DAY: i64 = 24 * 3_600_000;
        let ledger = ledger(&[stream(ARN, 1, false)], &[shard("a", &[], Open, 500)]);
        let lost = |now: i64| {
            let listings = listing(ARN, now, &[("a", None)]);
            vanished(&ledger, &listings, &unreadable("a", now - 5, false), SETTLE, at(now)).len()
        };
        assert_eq!(lost(400 + DAY), 0, "what is unread in it may be held still");
        assert_eq!(lost(500 + DAY), 1);
        let opened = ShardId::new("shardId-00000001795537212001-aa296260");
        assert_eq!(super::opened(&opened), Some(at(1_795_537_212_001)));
        assert_eq!(super::opened(&ShardId::new("shardId-000000000000")), None);
    }
}
