//! Lineages as large and as unruly as a big table's: many shards, several splits at once, late and short listings,
//! throttling, and a stream that is replaced.

use std::collections::BTreeMap;
use std::ops::Range;

use headwater_common::ledger::{GapCause, ShardStatus};
use headwater_ingest::Settings;
use headwater_tests::streams::{Call, ScriptedStreams, Write};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::stage::{OnLog, Stage, TABLE, now, settings, x};

/// A shard, and the keys whose changes it holds.
#[derive(Clone)]
struct Node {
    shard: String,
    keys: Range<usize>,
}

/// The stream's shards as a tree over ranges of keys, and what was written to them.
struct Tree<'a> {
    server: &'a ScriptedStreams,
    random: SmallRng,
    open: Vec<Node>,
    shards: usize,
    parents: Vec<(String, String)>,
    /// The values of each key, in their order.
    written: BTreeMap<String, Vec<String>>,
    count: usize,
}

impl Tree<'_> {
    fn new(server: &ScriptedStreams) -> Tree<'_> {
        let (random, open, parents) = (SmallRng::seed_from_u64(4), Vec::new(), Vec::new());
        Tree { server, random, open, shards: 0, parents, written: BTreeMap::new(), count: 0 }
    }

    fn root(&mut self, keys: Range<usize>) {
        let shard = self.server.open_shard(TABLE, None);
        self.shards += 1;
        self.open.push(Node { shard, keys });
    }

    fn write(&mut self, node: &Node) {
        let key = format!("k{}", self.random.random_range(node.keys.clone()));
        self.count += 1;
        self.server.write(TABLE, &node.shard, Write::put(&key, &x(self.count)));
        self.written.entry(key).or_default().push(self.count.to_string());
    }

    fn write_everywhere(&mut self, each: usize) {
        for node in self.open.clone() {
            (0..each).for_each(|_| self.write(&node));
        }
    }

    /// Ends the open shard `at`: in two children, or in one where a single key is left. They are listed late.
    fn end(&mut self, at: usize, latest: u32) {
        let Node { shard, keys } = self.open.remove(at);
        self.server.close_shard(TABLE, &shard);
        let middle = keys.start + keys.len() / 2;
        let halves = [keys.start..middle, middle..keys.end];
        for keys in halves.into_iter().filter(|keys| !keys.is_empty()) {
            let hidden = self.random.random_range(0..=latest);
            let child = self.server.open_late_shard(TABLE, Some(&shard), hidden);
            self.parents.push((child.clone(), shard.clone()));
            self.shards += 1;
            self.open.push(Node { shard: child, keys });
        }
    }

    /// Every change once, each item's in its order, and no child's before its parent's.
    fn judge(&self, on_log: &OnLog) {
        on_log.assert_sound();
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, x) in on_log.seen() {
            seen.entry(key).or_default().push(x);
        }
        assert_eq!(seen, self.written);
        let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
        for (place, change) in on_log.changes.iter().enumerate() {
            first.entry(change.source.shard.as_str()).or_insert(place);
            last.insert(change.source.shard.as_str(), place);
        }
        for (child, parent) in &self.parents {
            if let (Some(first), Some(last)) = (first.get(child.as_str()), last.get(parent.as_str())) {
                assert!(last < first, "{child} is read before its parent {parent}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_shards_in_a_tree_are_read_parents_first_although_a_third_of_the_calls_is_throttled() {
    let stage = Stage::new().await;
    let mut tree = Tree::new(&stage.server);
    tree.root(0..512);
    while tree.shards < 2000 {
        let node = tree.open[0].clone();
        (0..2).for_each(|_| tree.write(&node));
        tree.end(0, 0);
    }
    tree.write_everywhere(1);
    stage.server.throttle_share(0.3);
    stage.server.partial_share(0.3);
    // Hundreds of open shards, each asked twice a second.
    let worker = stage.start_with(Settings { idle_ms: 500, idle_max_ms: 500, discovery_ms: 1000, ..settings() });
    let on_log = stage.changes(tree.count).await;
    tree.judge(&on_log);
    let ended = tree.shards - tree.open.len();
    let wanted = |status| move |entry: &&headwater_common::ledger::ShardEntry| entry.status == status;
    let ledger = stage
        .ledger_until("every shard's end", |ledger| {
            ledger.shards.values().filter(wanted(ShardStatus::Finished)).count() == ended
        })
        .await;
    assert_eq!((ledger.shards.len(), ledger.open_gaps().count()), (tree.shards, 0));
    stage.complete_beyond(now()).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_splits_at_once_with_late_children_and_short_listings_lose_nothing_over_crashes() {
    let stage = Stage::new().await;
    stage.server.page_shards(5);
    stage.server.partial_share(0.5);
    stage.server.throttle_share(0.3);
    let mut tree = Tree::new(&stage.server);
    (0..4).for_each(|root| tree.root(root * 16..(root + 1) * 16));
    // A child's child may be listed before the child, by as many listings as it takes to show it.
    let patient = || Settings { split_settle_ms: 3000, ..settings() };
    let mut worker = stage.start_with(patient());
    for round in 0..8 {
        tree.write_everywhere(3);
        for _ in 0..3 {
            let at = tree.random.random_range(0..tree.open.len());
            tree.end(at, 6);
        }
        let some = tree.count / 2;
        stage.until("some of it", async |on_log| on_log.changes.len() >= some).await;
        if round % 3 == 2 {
            worker.kill().await;
            worker = stage.start_with(patient());
        }
    }
    tree.write_everywhere(2);
    let on_log = stage.changes(tree.count).await;
    tree.judge(&on_log);
    let ledger = stage.ledger_until("every shard", |ledger| ledger.shards.len() == tree.shards).await;
    assert_eq!(ledger.open_gaps().count(), 0);
    stage.complete_beyond(now()).await;
    assert!(stage.server.calls(Call::DescribeStream) > 20);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_switched_off_and_on_is_read_to_its_end_before_the_next_one_begins() {
    let stage = Stage::new().await;
    stage.server.page_shards(3);
    stage.server.partial_share(0.3);
    stage.server.throttle_share(0.3);
    let mut tree = Tree::new(&stage.server);
    (0..2).for_each(|root| tree.root(root * 8..(root + 1) * 8));
    let worker = stage.start_with(Settings { split_settle_ms: 3000, ..settings() });
    let split = |tree: &mut Tree, rounds: usize| {
        for _ in 0..rounds {
            tree.write_everywhere(2);
            let at = tree.random.random_range(0..tree.open.len());
            tree.end(at, 3);
        }
        tree.write_everywhere(1);
    };
    split(&mut tree, 3);
    stage.changes(tree.count).await;
    // One shard is behind when the stream goes.
    let behind = tree.open[0].clone();
    stage.server.hold(TABLE, &behind.shard);
    split(&mut tree, 2);
    let old = stage.server.stream_arn(TABLE);
    let first_generation = tree.count;
    tree.open.clear();
    let new = stage.server.replace_stream(TABLE);
    (0..2).for_each(|root| tree.root(root * 8..(root + 1) * 8));
    split(&mut tree, 3);
    let replaced =
        |ledger: &headwater_common::ledger::Ledger| ledger.shards.values().any(|entry| entry.stream.as_str() == new);
    stage.ledger_until("the next stream's shards", replaced).await;
    stage.server.release(TABLE, &behind.shard);
    let on_log = stage.changes(tree.count).await;
    tree.judge(&on_log);
    let streams: Vec<&str> = on_log.changes.iter().map(|change| change.source.stream.as_str()).collect();
    assert!(streams[..first_generation].iter().all(|stream| *stream == old));
    assert!(streams[first_generation..].iter().all(|stream| *stream == new));
    let ledger = stage.ledger_until("the gap", |ledger| ledger.open_gaps().count() > 0).await;
    let causes: Vec<GapCause> = ledger.open_gaps().map(|gap| gap.cause).collect();
    assert_eq!(causes, [GapCause::StreamReplaced]);
    worker.not_ready_for("lost unread").await;
    stage.complete_beyond(now()).await;
    worker.stop().await;
}
