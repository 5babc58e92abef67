//! The layers: no stage depends on another, and what is pure stays so.

use std::path::{Path, PathBuf};

/// Each member, and the members that it may depend on beside `headwater-common`. Development dependencies are free.
const MAY_DEPEND_ON: [(&str, &[&str]); 7] = [
    ("common", &[]),
    ("ingest", &[]),
    ("sink-offline", &[]),
    ("sink-offline/lake", &["headwater-sink-offline"]),
    ("sink-search", &[]),
    ("sdk", &[]),
    ("infra/local-store", &[]),
];

/// Modules that only decide: no SDK, no runtime, no clock, no store.
const PURE: [&str; 12] = [
    "common/src/change.rs",
    "common/src/codec.rs",
    "common/src/completeness.rs",
    "common/src/key.rs",
    "common/src/ledger.rs",
    "common/src/number.rs",
    "common/src/order.rs",
    "common/src/typed.rs",
    "common/src/value.rs",
    "ingest/src/lineage.rs",
    "sink-offline/src/stats.rs",
    "sink-search/src/query/parser.rs",
];

const IMPURE: [&str; 9] = [
    "tokio::",
    "aws_sdk",
    "dyn Clock",
    "SystemClock",
    "std::fs",
    "fjall::",
    "tantivy::",
    "object_store::",
    "deltalake::",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn no_stage_depends_on_another() {
    for (member, allowed) in MAY_DEPEND_ON {
        let manifest = read(&root().join(member).join("Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for name in dependencies.lines().filter_map(|line| line.split('.').next()) {
            let ours = name.starts_with("headwater");
            assert!(
                !ours || name == "headwater-common" || allowed.contains(&name),
                "{member} depends on {name}, but stages know each other by the envelope alone"
            );
        }
    }
}

#[test]
fn pure_modules_import_nothing_that_acts() {
    for module in PURE {
        let text = read(&root().join(module));
        let code = text.split("#[cfg(test)]").next().unwrap();
        for impure in IMPURE {
            let found = code.lines().position(|line| line.contains(impure) && !line.trim_start().starts_with("//"));
            assert_eq!(found, None, "{module}: {impure} in a module that only decides");
        }
    }
}
