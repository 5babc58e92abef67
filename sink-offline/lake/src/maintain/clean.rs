//! Which files of a log nobody needs any more. Pure.
//!
//! A version stays readable for the retention; so does what leads to it, back to a checkpoint. Commits that current has
//! not folded in yet stay whatever their age.

use headwater_common::clock::Timestamp;
use object_store::path::Path;

use crate::table::checkpoint::Hint;
use crate::table::log::commit_version;

/// A file of `_delta_log`.
#[derive(Clone, Debug)]
pub struct LogFile {
    pub path: Path,
    pub written: Timestamp,
}

/// The files to delete, commits oldest first. `before` is when a version may go; `needed_from` the first version whose
/// commit is needed by its own.
pub fn expired(files: &[LogFile], before: Timestamp, needed_from: i64) -> Vec<Path> {
    let commits = || files.iter().filter_map(|file| Some((commit_version(file.path.filename()?)?, file)));
    let checkpoints = || files.iter().filter_map(|file| Some((Hint::from_name(file.path.filename()?)?.version, file)));
    // The oldest version within the retention, or the newest of all.
    let newest = commits().map(|(version, _)| version).max();
    let within = commits().filter(|(_, file)| file.written >= before).map(|(version, _)| version).min();
    let Some(oldest_kept) = within.or(newest) else { return Vec::new() };
    let oldest_kept = oldest_kept.min(needed_from);
    let base = checkpoints().map(|(version, _)| version).filter(|version| *version <= oldest_kept).max();
    let Some(base) = base else { return Vec::new() };
    let mut gone: Vec<(i64, &LogFile)> =
        commits().chain(checkpoints()).filter(|(version, file)| *version < base && file.written < before).collect();
    gone.sort_by(|one, other| (one.0, &one.1.path).cmp(&(other.0, &other.1.path)));
    gone.into_iter().map(|(_, file)| file.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(commits: std::ops::Range<i64>, checkpoints: &[i64]) -> Vec<LogFile> {
        let file = |name: String, at: i64| LogFile {
            path: Path::from(format!("_delta_log/{name}")),
            written: Timestamp::from_millis(at),
        };
        // Version n is written at n seconds.
        let mut files: Vec<_> = commits.map(|version| file(format!("{version:020}.json"), version * 1000)).collect();
        files.extend(checkpoints.iter().map(|at| file(format!("{at:020}.checkpoint.parquet"), at * 1000)));
        files.push(file("_last_checkpoint".into(), 0));
        files
    }

    fn kept(files: &[LogFile], before: i64, needed_from: i64) -> Vec<String> {
        let gone = expired(files, Timestamp::from_millis(before), needed_from);
        let name = |path: &Path| path.filename().unwrap().trim_start_matches('0').to_owned();
        files.iter().filter(|file| !gone.contains(&file.path)).map(|file| name(&file.path)).collect()
    }

    #[test]
    fn every_version_within_the_retention_stays_readable() {
        let files = log(0..10, &[3, 6]);
        // Version 5 is the oldest within: it is read from checkpoint 3 on.
        let expected = [
            "3.json",
            "4.json",
            "5.json",
            "6.json",
            "7.json",
            "8.json",
            "9.json",
            "3.checkpoint.parquet",
            "6.checkpoint.parquet",
            "_last_checkpoint",
        ];
        assert_eq!(kept(&files, 5_000, 9), expected);
    }

    #[test]
    fn without_a_checkpoint_nothing_goes() {
        assert_eq!(kept(&log(0..4, &[]), 99_000, 9).len(), 5);
        assert_eq!(kept(&log(0..4, &[3]), 1_000, 9).len(), 6, "version 1 is kept and has no checkpoint before it");
    }

    #[test]
    fn what_current_has_not_folded_in_stays_and_so_does_the_newest_version() {
        let files = log(0..8, &[2, 5]);
        assert!(kept(&files, 99_000, 4).contains(&"4.json".to_owned()));
        let all_old = kept(&files, 99_000, 99);
        assert_eq!(all_old, ["5.json", "6.json", "7.json", "5.checkpoint.parquet", "_last_checkpoint"]);
    }
}
