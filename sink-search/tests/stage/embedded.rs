use std::path::Path;
use std::sync::Arc;

use headwater_common::definition::{Entity, FeatureType};
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::log::{Extent, Offset};
use headwater_sink_search::embedded::OpenError;
use headwater_sink_search::index::*;
use headwater_sink_search::{EmbeddedIndex, SearchIndex};
use headwater_tests::skip;
use headwater_tests::small_disk::SmallDisk;

use crate::conformance::{self, all, apply, progress, promises, scan_all};
use crate::differential;
use crate::generate::{entity, item, n, put, s};
use crate::scripted::ScriptedLog;

const HEAP: usize = 15_000_000;

pub fn open(folder: &Path) -> EmbeddedIndex {
    EmbeddedIndex::open(folder, &entity(), HEAP).unwrap()
}

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let folder = tempfile::tempdir().unwrap();
            conformance::$name(&open(folder.path())).await;
        }
    )*};
}

promises!(conforms);

#[test]
fn any_order_converges_to_the_newest() {
    let folders = tempfile::tempdir().unwrap();
    conformance::any_order_converges_to_the_newest(|| {
        let folder = tempfile::tempdir_in(folders.path()).unwrap().keep();
        Arc::new(open(&folder))
    });
}

#[tokio::test]
async fn any_query_finds_what_its_definition_says() {
    for seed in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        differential::any_query_finds_what_its_definition_says(&open(folder.path()), seed, 400).await;
    }
}

#[tokio::test]
async fn documents_and_progress_survive_being_closed_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..30_u64 {
        let index = open(folder.path());
        assert_eq!(all(&index).await.total, if round == 0 { 0 } else { 20 });
        let operations = (0..20).map(|id| put(item(&id.to_string(), "1", &[]), round + 1)).collect();
        index.apply(Arc::new(Flush { operations, progress: progress(round, round as i64) })).await.unwrap();
    }
    let index = open(folder.path());
    assert_eq!(index.progress().await.unwrap(), progress(29, 29));
    assert!(scan_all(&index, 100).await.iter().all(|entry| entry.version.get() == 30));
}

#[tokio::test]
async fn a_reader_sees_each_commit_while_the_writer_runs_and_when_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let missing = EmbeddedIndex::open_read_only(folder.path(), &entity()).err().unwrap();
    assert!(matches!(missing, IndexError::Missing { .. }), "{missing}");
    let writer = open(folder.path());
    let reader = EmbeddedIndex::open_read_only(folder.path(), &entity()).unwrap();
    for round in 0..10_u64 {
        let operations = vec![put(item(&round.to_string(), "1", &[]), 1), put(item("x", "1", &[]), round + 1)];
        writer.apply(Arc::new(Flush { operations, progress: progress(round, round as i64) })).await.unwrap();
        let answer = all(&reader).await;
        assert_eq!((answer.total, answer.as_of), (round + 2, progress(round, round as i64).complete_until()));
    }
    let refused = reader.apply(Arc::new(Flush::default())).await.unwrap_err();
    assert!(matches!(refused, IndexError::ReadOnly { .. }), "{refused}");
    drop(writer);
    assert_eq!(all(&reader).await.total, 11);
    assert_eq!(all(&EmbeddedIndex::open_read_only(folder.path(), &entity()).unwrap()).await.total, 11);
}

#[test]
fn a_folder_that_another_writer_holds_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let held = open(folder.path());
    let refused = EmbeddedIndex::open(folder.path(), &entity(), HEAP).err().unwrap();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    drop(held);
    open(folder.path());
}

fn redefined() -> Entity {
    let mut entity = entity();
    entity.features.iter_mut().find(|feature| feature.name == "delay").unwrap().feature_type = FeatureType::Long;
    entity
}

#[tokio::test]
async fn other_definitions_are_refused_or_the_index_is_built_again_from_a_whole_log() {
    let (folder, log_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    apply(&open(folder.path()), vec![put(item("a", "1", &[("delay", n("1.5"))]), 1)]).await;
    let refused = EmbeddedIndex::open(folder.path(), &redefined(), HEAP).err().unwrap();
    assert!(refused.to_string().contains("`delay` was double and is long"), "{refused}");
    let refused = EmbeddedIndex::open_read_only(folder.path(), &redefined()).err().unwrap();
    assert!(matches!(refused, IndexError::MappingChanged { .. }), "{refused}");
    assert_eq!(all(&open(folder.path())).await.total, 1, "a refusal changes nothing");

    let log = EmbeddedLog::open(log_folder.path(), Layout { slots: 1, partitions: 1 }).unwrap();
    let rebuilt = EmbeddedIndex::open_or_rebuild(folder.path(), &redefined(), HEAP, &log).await.unwrap();
    assert_eq!(rebuilt.progress().await.unwrap(), Progress::default(), "everything is read again");
    drop(rebuilt);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "the index that was replaced is gone");
    // A change of names alone is no change of the index.
    let mut described = redefined();
    described.features[0].description = "text".into();
    assert!(EmbeddedIndex::open(folder.path(), &described, HEAP).is_ok());
}

#[tokio::test]
async fn an_index_is_not_given_up_when_the_log_can_no_longer_build_it() {
    let (folder, log_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    apply(&open(folder.path()), vec![put(item("a", "1", &[]), 1)]).await;
    let log = Arc::new(EmbeddedLog::open(log_folder.path(), Layout { slots: 1, partitions: 1 }).unwrap());
    let trimmed = Extent { start: Offset(5), end: Offset(9) };
    let mut log = ScriptedLog::over(log);
    log.extents = Some(vec![trimmed]);
    let refused = EmbeddedIndex::open_or_rebuild(folder.path(), &redefined(), HEAP, &log).await.err().unwrap();
    assert!(matches!(refused, OpenError::CannotRebuild { .. }), "{refused}");
    assert_eq!(all(&open(folder.path())).await.total, 1);
}

#[tokio::test]
async fn what_a_crash_left_behind_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    apply(&open(folder.path()), vec![put(item("a", "1", &[]), 1)]).await;
    let index = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::write(index.join(".tmpAbCdEf"), "half a commit").unwrap();
    std::fs::create_dir(folder.path().join("0123456789abcdef.unfinished")).unwrap();
    assert_eq!(all(&open(folder.path())).await.total, 1);
    assert!(!index.join(".tmpAbCdEf").exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_full_disk_refuses_a_flush_and_the_index_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(24) else {
        return skip::skipped("mounting a small file system needs root");
    };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 12 << 20]).unwrap();
    let folder = disk.path().join("index");
    let index = open(&folder);
    // Texts that do not compress.
    let noise = |round: u64, id: u64| -> String {
        let mut state = round * 1000 + id + 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + (state >> 33) as u8 % 90)
        };
        (0..20_000).map(|_| next()).collect()
    };
    let flush = |round: u64| {
        let one = |id| put(item(&format!("{round}-{id}"), "1", &[("undeclared", s(&noise(round, id)))]), 1);
        Arc::new(Flush { operations: (0..20).map(one).collect(), progress: progress(round, round as i64) })
    };
    let (mut round, mut refusals) = (1, 0);
    while refusals < 4 {
        match index.apply(flush(round)).await {
            Ok(_) => round += 1,
            Err(error) => {
                assert!(matches!(error, IndexError::Full { .. }), "{error}");
                refusals += 1;
                // What was visible still is, and nothing more.
                assert_eq!(all(&index).await.total, (round - 1) * 20);
            }
        }
        assert!(round < 200, "the disk never filled up");
    }
    assert!(round > 1, "not even one flush fitted");
    std::fs::remove_file(&ballast).unwrap();
    for round in round..round + 5 {
        index.apply(flush(round)).await.unwrap();
    }
    drop(index);
    let index = open(&folder);
    assert_eq!(all(&index).await.total, (round + 4) * 20);
    assert_eq!(index.progress().await.unwrap(), progress(round + 4, round as i64 + 4));
}
