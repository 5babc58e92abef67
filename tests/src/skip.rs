//! A test that can not be run here says so.

use std::io::Write as _;

/// Says why on standard error, and in the file that `SKIPPED_TESTS` names, so that `.ci/test` can count. Not by
/// `eprintln!`, whose text is kept from who runs a test that passes.
pub fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "skipped: {reason}: {test}").ok();
    if let Some(list) = std::env::var_os("SKIPPED_TESTS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(list);
        // One write, so that tests side by side do not mix their lines.
        file.and_then(|mut file| file.write_all(format!("{test}: {reason}\n").as_bytes())).ok();
    }
}
