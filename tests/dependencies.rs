//! What a build pulls in is what docs/embedding.md lists, and nothing of it is
//! under the GPL unless it was asked for by name.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const DOCUMENT: &str = include_str!("../docs/embedding.md");

/// What every build has: proc macros and what those are made of included.
const ALWAYS: [&str; 9] = [
    "byteorder",
    "proc-macro2",
    "quote",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
    "zerocopy",
    "zerocopy-derive",
];

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names of crates and their licences in a build with `features` alone.
fn tree(features: &str, edges: &str) -> BTreeMap<String, String> {
    let format = "{p}\t{l}";
    let mut arguments = vec!["tree", "--quiet", "--prefix", "none", "--format", format];
    arguments.extend(["--edges", edges, "--no-default-features"]);
    arguments.extend(["--features", features]);
    let crates = cargo(&arguments);
    let crates = crates.lines().map(|line| line.split_once('\t').unwrap());
    crates
        .map(|(package, licence)| {
            let name = package.split(' ').next().unwrap();
            // `(*)` marks a crate whose own were listed before.
            (name.to_owned(), licence.trim_end_matches(" (*)").to_owned())
        })
        .filter(|(name, _)| name != "guestdump")
        .collect()
}

fn names(features: &str, edges: &str) -> BTreeSet<String> {
    tree(features, edges).into_keys().collect()
}

/// All features but `default`, by the manifest.
fn features() -> BTreeSet<String> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|package| package["name"] == "guestdump");
    let features = package.unwrap()["features"].as_object().unwrap();
    let names = features.keys().filter(|name| *name != "default");
    names.cloned().collect()
}

struct Row {
    crates: BTreeSet<String>,
    c_compiler: bool,
}

/// The table in the document, by feature; that of no feature is "".
fn documented() -> BTreeMap<&'static str, Row> {
    let (_, rest) = DOCUMENT.split_once("<!-- crates:begin -->").unwrap();
    let (table, _) = rest.split_once("<!-- crates:end -->").unwrap();
    let quoted = |cell: &'static str| cell.split('`').skip(1).step_by(2);
    let rows = table.lines().filter(|line| line.contains('`'));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, feature, crates, c_compiler, _] = cells[..] else {
            panic!("{row}");
        };
        let row = Row {
            crates: quoted(crates).map(str::to_owned).collect(),
            c_compiler: c_compiler == "yes",
        };
        (quoted(feature).next().unwrap_or_default(), row)
    })
    .collect()
}

#[test]
fn without_features_there_are_byteorder_thiserror_and_zerocopy_alone() {
    let all = names("", "normal,build");
    assert_eq!(all, ALWAYS.map(str::to_owned).into());
}

#[test]
fn each_feature_brings_the_documented_crates_and_no_others() {
    let documented = documented();
    let mut rows: BTreeSet<_> = documented.keys().map(|name| (*name).to_owned()).collect();
    assert!(rows.remove(""), "no row for no feature");
    // For the command nobody counts.
    rows.insert("cli".into());
    assert_eq!(rows, features());
    assert!(!names("default", "normal,build").contains("cc"));
    let always = names("", "normal,no-proc-macro");
    for (feature, row) in &documented {
        let linked = names(feature, "normal,no-proc-macro");
        let brought = match *feature {
            "" => linked,
            _ => linked.difference(&always).cloned().collect(),
        };
        assert_eq!(brought, row.crates, "{feature}");
        let built = names(feature, "normal,build,no-proc-macro");
        assert_eq!(built.contains("cc"), row.c_compiler, "{feature}");
    }
}

#[test]
fn only_the_feature_minilzo_brings_gpl() {
    let gpl = |features: &str| {
        let crates = tree(features, "normal,build");
        // `MIT OR GPL-2.0` leaves the choice.
        let bound = |licence: &str| licence.contains("GPL") && !licence.contains(" OR ");
        let bound = crates.into_iter().filter(|(_, licence)| bound(licence));
        bound.map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert!(gpl("default").is_empty());
    let mut all = features();
    assert!(all.remove("minilzo"));
    let all: Vec<_> = all.into_iter().collect();
    assert!(gpl(&all.join(",")).is_empty());
    assert_eq!(gpl("minilzo"), ["minilzo-rs"]);
}
