//! Each checker bites: an undoctored run passes all, and one fault fails exactly the checker named for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use headwater_common::change::{Op, TableName};
use headwater_common::number::Number;
use headwater_common::value::{Item, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Expected, Promise, all, premise, report, vacuity};
use crate::history::{Action, Before, Found, History, Intent, Key, Outcome, Write, WriteId, may_expire};
use crate::model::{Model, updated};
use crate::observed::{CurrentRow, HistoryRow, IndexDocument, Observed};
use crate::workload::{Settings, Workload};
use headwater_common::clock::Timestamp;

/// A table in memory that behaves as DynamoDB does, and keeps its stream.
#[derive(Default)]
struct Table {
    items: BTreeMap<Key, Item>,
    stream: Vec<(Key, Op, Option<Item>)>,
}

impl Table {
    fn write(&mut self, intent: &Intent) -> Outcome {
        let old = self.items.get(&intent.key).cloned();
        let told = old.as_ref().map_or(Before::Absent, |item| Before::Present(WriteId::of(item)));
        let (new, before, after) = match &intent.action {
            Action::Put(item) => (Some(item.clone()), told, None),
            Action::Delete => (None, told, None),
            Action::Update { set, remove } => {
                let item = updated(old.as_ref().unwrap_or(&intent.key_item), set, remove);
                (Some(item.clone()), Before::NotTold, Some(item))
            }
        };
        self.change(&intent.key, new, Op::Delete);
        Outcome::Acknowledged { before, after }
    }

    fn change(&mut self, key: &Key, new: Option<Item>, removal: Op) {
        let old = match &new {
            Some(item) => self.items.insert(key.clone(), item.clone()),
            None => self.items.remove(key),
        };
        let op = match (&old, &new) {
            (None, None) => return,
            (None, Some(_)) => Op::Insert,
            (Some(_), Some(_)) => Op::Modify,
            (Some(_), None) => removal,
        };
        self.stream.push((key.clone(), op, new));
    }

    fn expire_some(&mut self, rng: &mut StdRng) {
        let due: Vec<Key> =
            self.items.iter().filter(|(_, item)| may_expire(item)).map(|(key, _)| key.clone()).collect();
        for key in due {
            if rng.random_bool(0.1) {
                self.change(&key, None, Op::Expire);
            }
        }
    }
}

/// The run that the doctored ones are made from.
fn good() -> (History, Observed) {
    static GOOD: LazyLock<(History, Observed)> = LazyLock::new(|| run(11));
    GOOD.clone()
}

/// A run through a perfect pipeline: lost answers and expiry happen, faults don't.
fn run(seed: u64) -> (History, Observed) {
    let settings = Settings { seed, tasks: 2, keys: 40, large_share: 0.0, ..Settings::default() };
    let workload = Workload::new(settings);
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut table, mut history) = (Table::default(), History::default());
    let mut tasks = [workload.task(0), workload.task(1)];
    for at in 0..1200 {
        let intent = tasks[at % 2].next().unwrap().stamped(Timestamp::from_millis(1_700_000_000_000 + at as i64));
        let outcome = match rng.random_range(0..100) {
            0 => Outcome::Failed { error: "throttled".into() },
            1..6 => {
                if rng.random() {
                    table.write(&intent);
                }
                let item = table.items.get(&intent.key).cloned();
                let found = item.map_or(Found::Absent, |item| Found::Present(Box::new(item)));
                let found = if rng.random_bool(0.2) { Found::NotRead } else { found };
                Outcome::Unknown { error: "reset".into(), found }
            }
            _ => table.write(&intent),
        };
        history.writes.push(Write { intent, outcome });
        if at % 10 == 0 {
            table.expire_some(&mut rng);
        }
    }
    let observed = ideal(&table);
    (history, observed)
}

/// What a perfect pipeline makes of a table and its stream.
fn ideal(table: &Table) -> Observed {
    let mut rows = Vec::new();
    let mut offsets: BTreeMap<i64, i64> = BTreeMap::new();
    let mut newest: BTreeMap<Key, (i64, Option<Item>)> = BTreeMap::new();
    for (at, (key, op, item)) in table.stream.iter().enumerate() {
        let version = 1_000_000 + 3 * at as i64;
        let partition = (key.text.bytes().map(i64::from).sum::<i64>()) % 4;
        let offset = offsets.entry(partition).or_default();
        *offset += 1 + (at % 3) as i64;
        rows.push(HistoryRow {
            table: key.table.clone(),
            key: key.text.clone(),
            version,
            op: Some(*op),
            item: item.clone(),
            log_partition: partition,
            log_offset: *offset,
            event_id: Some(format!("e{at}")),
            error: None,
        });
        newest.insert(key.clone(), (version, item.clone()));
    }
    let live = newest.iter().filter_map(|(key, (version, item))| Some((key, *version, item.clone()?)));
    let current =
        live.map(|(key, version, item)| CurrentRow { table: key.table.clone(), key: key.text.clone(), version, item });
    let document = |(key, (version, item)): (&Key, &(i64, Option<Item>))| IndexDocument {
        table: key.table.clone(),
        id: key.document_id(),
        version: *version,
        live: item.is_some(),
        item: item.clone(),
    };
    Observed {
        scan: table.items.clone(),
        current: Some(current.collect()),
        index: Some(newest.iter().map(document).collect()),
        history: rows,
    }
}

fn promises(history: &History, observed: &Observed) -> BTreeSet<Promise> {
    let violations = all(&Model::of(history), observed);
    violations.iter().map(|violation| violation.promise).collect()
}

/// Doctors a good run and expects exactly one promise broken.
#[track_caller]
fn bites(promise: Promise, doctor: impl Fn(&mut Observed, &Model)) {
    let (history, mut observed) = good();
    doctor(&mut observed, &Model::of(&history));
    assert_eq!(promises(&history, &observed), BTreeSet::from([promise]));
}

/// Places of three rows in a row of one key that are states, not its first or last ones.
fn three_states(observed: &Observed) -> [usize; 3] {
    let mut keys: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (at, row) in observed.history.iter().enumerate() {
        keys.entry(row.key()).or_default().push(at);
    }
    for places in keys.values().filter(|places| places.len() > 6) {
        for three in places[1..places.len() - 2].windows(3) {
            if three.iter().all(|at| observed.history[*at].item.is_some()) {
                return [three[0], three[1], three[2]];
            }
        }
    }
    panic!("no key with three states in a row");
}

fn certain_state(observed: &Observed, model: &Model) -> usize {
    let certain = |row: &HistoryRow| {
        let id = row.item.as_ref().and_then(WriteId::of)?;
        let timeline = model.keys.get(&row.key())?;
        timeline.steps.get(timeline.step_of(&id)?)?.certain.then_some(())
    };
    observed.history.iter().position(|row| certain(row).is_some()).unwrap()
}

fn current(observed: &mut Observed) -> &mut Vec<CurrentRow> {
    observed.current.as_mut().unwrap()
}

fn index(observed: &mut Observed) -> &mut Vec<IndexDocument> {
    observed.index.as_mut().unwrap()
}

#[test]
fn a_perfect_run_breaks_nothing_whatever_answers_were_lost() {
    for seed in 0..12 {
        let (history, observed) = run(seed);
        let violations = all(&Model::of(&history), &observed);
        assert_eq!(violations, [], "seed {seed}\n{}", report(&violations));
        assert_eq!(vacuity(&history, 0, &Expected::writes(1000)), []);
    }
}

#[test]
fn p1_a_lost_row() {
    bites(Promise::P1NoLoss, |observed, model| {
        let at = certain_state(observed, model);
        observed.history.remove(at);
    });
}

#[test]
fn p1_a_lost_removal() {
    let (history, observed) = good();
    let model = Model::of(&history);
    // A removal that something came after: the last one of a key could be thought to be missing for other reasons.
    let at = observed.history.iter().position(|row| row.op == Some(Op::Delete)).unwrap();
    let mut doctored = observed.clone();
    doctored.history.remove(at);
    assert_eq!(promises(&history, &doctored), BTreeSet::from([Promise::P1NoLoss]));
    assert_eq!(promises(&history, &observed), BTreeSet::new());
    assert!(model.contradictions.is_empty());
}

#[test]
fn p1_a_live_item_missing_from_a_sink() {
    let (history, observed) = good();
    let model = Model::of(&history);
    let key = model.keys.iter().find(|(_, timeline)| timeline.is_certainly_live()).unwrap().0;
    let mut doctored = observed.clone();
    current(&mut doctored).retain(|row| &row.key() != key);
    assert_eq!(promises(&history, &doctored), BTreeSet::from([Promise::P1NoLoss]));
    let mut doctored = observed;
    index(&mut doctored).retain(|document| document.id != key.document_id());
    assert_eq!(promises(&history, &doctored), BTreeSet::from([Promise::P1NoLoss]));
}

#[test]
fn p1_a_dead_letter() {
    bites(Promise::P1NoLoss, |observed, _| {
        let mut row = observed.history[0].clone();
        row.item = None;
        row.op = None;
        row.log_offset = 1_000_000;
        row.error = Some("not an envelope".into());
        observed.history.push(row);
    });
}

#[test]
fn p2_swapped_versions() {
    bites(Promise::P2Order, |observed, _| {
        let [first, second, _] = three_states(observed);
        let (one, two) = (observed.history[first].version, observed.history[second].version);
        observed.history[first].version = two;
        observed.history[second].version = one;
    });
}

#[test]
fn p2_swapped_places_in_the_log() {
    bites(Promise::P2Order, |observed, _| {
        let [first, second, _] = three_states(observed);
        let (one, two) = (observed.history[first].log_offset, observed.history[second].log_offset);
        observed.history[first].log_offset = two;
        observed.history[second].log_offset = one;
    });
}

#[test]
fn p2_swapped_states_under_rising_versions() {
    bites(Promise::P2Order, |observed, _| {
        let [first, second, _] = three_states(observed);
        let (one, two) = (observed.history[first].item.clone(), observed.history[second].item.clone());
        observed.history[first].item = two;
        observed.history[second].item = one;
    });
}

#[test]
fn p2_one_item_in_two_partitions() {
    bites(Promise::P2Order, |observed, _| {
        let last = observed.history.iter().rposition(|row| row.log_partition == 0).unwrap();
        let key = observed.history[last].key();
        assert!(observed.history.iter().filter(|row| row.key() == key).count() > 1);
        observed.history[last].log_partition = 9;
    });
}

#[test]
fn p3_a_doubled_row() {
    bites(Promise::P3Once, |observed, _| {
        let row = observed.history[3].clone();
        observed.history.push(row);
    });
}

#[test]
fn p3_a_change_replayed_under_a_new_offset_and_version() {
    bites(Promise::P3Once, |observed, _| {
        let [first, second, _] = three_states(observed);
        let mut row = observed.history[first].clone();
        row.version = observed.history[second].version + 1;
        row.log_offset = observed.history[second].log_offset;
        row.event_id = Some("another".into());
        observed.history.insert(second + 1, row);
    });
}

#[test]
fn p3_a_doubled_removal() {
    bites(Promise::P3Once, |observed, _| {
        let at = observed.history.iter().position(|row| row.op == Some(Op::Delete)).unwrap();
        let row = observed.history[at].clone();
        observed.history.push(row);
    });
}

#[test]
fn p3_two_changes_with_one_version() {
    bites(Promise::P3Once, |observed, _| {
        let [first, second, _] = three_states(observed);
        observed.history[second].version = observed.history[first].version;
    });
}

#[test]
fn p3_two_rows_or_two_documents_of_one_item() {
    bites(Promise::P3Once, |observed, _| {
        let row = current(observed)[0].clone();
        current(observed).push(row);
    });
    bites(Promise::P3Once, |observed, _| {
        let document = index(observed)[0].clone();
        index(observed).push(document);
    });
}

/// A live key's last but one state and its version.
fn stale(observed: &Observed) -> (Key, i64, Item) {
    for row in observed.current.as_ref().unwrap() {
        let rows: Vec<_> = observed.history.iter().filter(|other| other.key() == row.key()).collect();
        if let [.., before, _] = rows[..]
            && let Some(item) = &before.item
        {
            return (row.key(), before.version, item.clone());
        }
    }
    panic!("no live key with two states in a row");
}

#[test]
fn p4_a_stale_row_in_the_current_table() {
    bites(Promise::P4Convergence, |observed, _| {
        let (key, version, item) = stale(observed);
        let row = current(observed).iter_mut().find(|row| row.key() == key).unwrap();
        (row.version, row.item) = (version, item);
    });
}

#[test]
fn p4_a_stale_document_in_the_index() {
    bites(Promise::P4Convergence, |observed, _| {
        let (key, version, item) = stale(observed);
        let document = index(observed).iter_mut().find(|document| document.id == key.document_id()).unwrap();
        (document.version, document.item) = (version, Some(item));
    });
}

#[test]
fn p4_the_right_item_under_a_wrong_version() {
    bites(Promise::P4Convergence, |observed, _| current(observed)[0].version += 1);
    bites(Promise::P4Convergence, |observed, _| {
        index(observed).iter_mut().find(|document| document.live).unwrap().version -= 1;
    });
}

#[test]
fn p4_an_old_item_under_the_newest_version() {
    bites(Promise::P4Convergence, |observed, _| {
        let (key, _, item) = stale(observed);
        current(observed).iter_mut().find(|row| row.key() == key).unwrap().item = item;
    });
    bites(Promise::P4Convergence, |observed, _| {
        let document = index(observed).iter_mut().find(|document| document.live).unwrap();
        document.item.as_mut().unwrap().0.insert("damage".into(), Value::Null);
    });
}

#[test]
fn p5_a_row_that_nobody_wrote() {
    bites(Promise::P5NoPhantom, |observed, _| {
        let mut row = observed.history[0].clone();
        row.key = "never".into();
        row.log_offset = 1_000_000;
        observed.history.push(row);
    });
    bites(Promise::P5NoPhantom, |observed, _| {
        let [first, second, _] = three_states(observed);
        let mut row = observed.history[first].clone();
        row.item.as_mut().unwrap().0.insert("write_id".into(), Value::S("nobody".into()));
        row.event_id = Some("phantom".into());
        row.version = observed.history[second].version - 1;
        row.log_offset = observed.history[second].log_offset;
        observed.history.insert(second, row);
    });
}

#[test]
fn p5_a_removal_that_nothing_explains() {
    bites(Promise::P5NoPhantom, |observed, model| {
        let live = |row: &HistoryRow| model.keys[&row.key()].is_certainly_live();
        let mut row = observed.history.iter().rfind(|row| live(row)).unwrap().clone();
        (row.op, row.item, row.event_id) = (Some(Op::Expire), None, Some("phantom".into()));
        (row.version, row.log_offset) = (row.version + 1, 1_000_000);
        observed.history.push(row);
    });
}

#[test]
fn p5_an_item_in_a_sink_that_nobody_wrote() {
    bites(Promise::P5NoPhantom, |observed, _| {
        let mut row = current(observed)[0].clone();
        row.key = "never".into();
        current(observed).push(row);
    });
    bites(Promise::P5NoPhantom, |observed, _| {
        let mut document = index(observed)[0].clone();
        document.id = "never".into();
        index(observed).push(document);
    });
}

#[test]
fn p6_a_resurrected_item() {
    let dead = |observed: &Observed, model: &Model| {
        let dead = model.keys.iter().filter(|(_, timeline)| timeline.is_certainly_gone());
        let row =
            dead.filter_map(|(key, _)| observed.history.iter().rfind(|row| &row.key() == key && row.item.is_some()));
        row.take(1).next().unwrap().clone()
    };
    bites(Promise::P6DeletesStick, |observed, model| {
        let row = dead(observed, model);
        let (table, key, version) = (row.table.clone(), row.key.clone(), row.version);
        current(observed).push(CurrentRow { table, key, version, item: row.item.unwrap() });
    });
    bites(Promise::P6DeletesStick, |observed, model| {
        let row = dead(observed, model);
        let id = row.key().document_id();
        let document = index(observed).iter_mut().find(|document| document.id == id).unwrap();
        (document.live, document.item, document.version) = (true, row.item, row.version);
    });
}

#[test]
fn p6_a_replay_after_the_delete_is_told_by_p3_and_p6() {
    let (history, mut observed) = good();
    let model = Model::of(&history);
    let (key, _) = model.keys.iter().find(|(_, timeline)| timeline.is_certainly_gone()).unwrap();
    let mut row = observed.history.iter().rfind(|row| &row.key() == key && row.item.is_some()).unwrap().clone();
    row.version += 1_000_000;
    row.log_offset += 1_000_000;
    observed.history.push(row);
    assert_eq!(promises(&history, &observed), BTreeSet::from([Promise::P3Once, Promise::P6DeletesStick]));
}

/// Puts a value into the item of a certain row, and expects that only its change by `damage` is told, as P11.
#[track_caller]
fn damaged(written: Value, damage: Option<Value>) {
    let (mut history, mut observed) = good();
    let at = certain_state(&observed, &Model::of(&history));
    let id = observed.history[at].item.as_ref().and_then(WriteId::of).unwrap();
    let name = "fragile".to_owned();
    for write in history.writes.iter_mut().filter(|write| write.intent.id == id) {
        match (&mut write.intent.action, &mut write.outcome) {
            (Action::Put(item), _) => item.0.insert(name.clone(), written.clone()),
            _ => panic!("the first certain state of a run is a put"),
        };
    }
    // Later updates of the same item know nothing of this attribute; the premise is not what is tested here.
    observed.history[at].item.as_mut().unwrap().0.insert(name.clone(), written);
    let without = |violations: Vec<super::Violation>| {
        let kept = violations.into_iter().filter(|violation| violation.promise != Promise::Premise);
        kept.map(|violation| violation.promise).collect::<BTreeSet<_>>()
    };
    let model = Model::of(&history);
    assert_eq!(without(all(&model, &observed)), BTreeSet::new());
    let item = observed.history[at].item.as_mut().unwrap();
    match damage {
        Some(value) => item.0.insert(name, value),
        None => item.0.remove(&name),
    };
    assert_eq!(without(all(&model, &observed)), BTreeSet::from([Promise::P11Lossless]));
}

fn n(text: &str) -> Value {
    Value::N(Number::parse(text).unwrap())
}

#[test]
fn p11_a_rounded_number() {
    damaged(n("12345678901234567890123456789012345678"), Some(n("1.2345678901234568E+37")));
    damaged(n("9007199254740993"), Some(n("9007199254740992")));
}

#[test]
fn p11_a_lost_empty_string() {
    damaged(Value::S(String::new()), None);
    damaged(Value::S(String::new()), Some(Value::Null));
}

#[test]
fn p11_a_set_turned_list() {
    damaged(Value::Ss(vec!["a".into()]), Some(Value::L(vec![Value::S("a".into())])));
}

#[test]
fn p11_null_turned_absent() {
    damaged(Value::Null, None);
}

#[test]
fn p11_binary_turned_text_and_a_key_of_another_type() {
    damaged(Value::B(b"a".to_vec()), Some(Value::S("a".into())));
    damaged(Value::L(vec![n("1")]), Some(Value::L(vec![Value::S("1".into())])));
}

#[test]
fn p11_damage_in_the_current_table() {
    bites(Promise::P11Lossless, |observed, _| {
        current(observed)[0].item.0.insert("extra damage".into(), Value::Null);
    });
}

#[test]
fn p11_another_spelling_of_a_number_is_no_damage() {
    let (history, mut observed) = good();
    let row = current(&mut observed).iter_mut().find(|row| row.item.get("event_time").is_some()).unwrap();
    let Some(Value::N(number)) = row.item.0.get_mut("event_time") else { panic!("event_time is a number") };
    *number = Number::parse(format!("{number}.000")).unwrap();
    assert_eq!(promises(&history, &observed), BTreeSet::new());
}

#[test]
fn the_premise_fails_where_the_table_contradicts_its_answers() {
    let (history, mut observed) = good();
    let model = Model::of(&history);
    let (key, _) = model.keys.iter().find(|(_, timeline)| timeline.is_certainly_live()).unwrap();
    observed.scan.remove(key);
    assert!(!premise(&model, &observed).is_empty());
    let stranger = Key { table: TableName::new("t"), text: "stranger".into() };
    let mut observed = good().1;
    observed.scan.insert(stranger, Item::default());
    assert!(!premise(&model, &observed).is_empty());
}

#[test]
fn an_empty_run_proves_nothing() {
    let (history, _) = good();
    assert_eq!(vacuity(&History::default(), 0, &Expected::writes(1)).len(), 11);
    assert_eq!(vacuity(&history, 19, &Expected::writes(100).kills(20)).len(), 1);
}
