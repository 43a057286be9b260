//! Imports go one way: the rooms of `src/` stand in the order that
//! docs/design.md states, and each room imports only from rooms before it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The names of the rooms in docs/design.md, in their order. `guest::linux` is
/// a room inside the folder `guest`.
fn stated_order() -> Vec<String> {
    let design = fs::read_to_string("docs/design.md").unwrap();
    let (_, rest) = design.split_once("<!-- rooms:begin -->").unwrap();
    let (list, _) = rest.split_once("<!-- rooms:end -->").unwrap();
    // Each table row begins with the room's name: | `abi` | ...
    list.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// All `.rs` files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file without comments and without what only its unit tests
/// need, which may use the whole crate.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines()
        .filter(is_code)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The room of a path's segments: the longest one that is stated.
fn room_of(segments: &[&str], rooms: &[String]) -> Option<String> {
    (1..=segments.len().min(2))
        .rev()
        .map(|len| segments[..len].join("::"))
        .find(|name| rooms.contains(name))
}

/// The items that `src/guest/mod.rs` re-exports, with their rooms, so that
/// `crate::guest::GuestInfo` counts as `guest::info`.
fn re_exports(parent: &str) -> BTreeMap<String, String> {
    let path = Path::new("src").join(parent).join("mod.rs");
    let mut found = BTreeMap::new();
    for statement in code(&path).split(';') {
        let Some((_, path)) = statement.rsplit_once("use ") else {
            continue;
        };
        let Some((room, items)) = path.split_once("::") else {
            continue;
        };
        for item in items.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
            found.insert(item.to_owned(), format!("{parent}::{}", room.trim()));
        }
    }
    found
}

/// The paths below `crate::` that the code names, groups in braces resolved
/// one level deep: `crate::guest::{linux, GuestInfo}` gives two.
fn imports(code: &str) -> BTreeSet<Vec<String>> {
    let word = |text: &str| -> String {
        let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
        text.chars().take_while(is_word).collect()
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let first = word(rest);
        let after = &rest[first.len()..];
        match after.strip_prefix("::{") {
            Some(group) => {
                let group = group.split_once('}').map_or(group, |(inside, _)| inside);
                for item in group.split(',') {
                    found.insert(vec![first.clone(), word(item.trim())]);
                }
            }
            None => {
                let second = after.strip_prefix("::").map(word).unwrap_or_default();
                found.insert(vec![first.clone(), second]);
            }
        }
    }
    found
}

/// What of the code stands against the stated order.
fn upward_imports(rooms: &[String]) -> Vec<String> {
    let mut upward = Vec::new();
    let parents: BTreeSet<_> = rooms.iter().filter_map(|r| r.split_once("::")).collect();
    let parents: BTreeSet<_> = parents.into_iter().map(|(parent, _)| parent).collect();
    let exports: BTreeMap<_, _> = parents.iter().map(|p| (*p, re_exports(p))).collect();
    for path in sources(Path::new("src")) {
        let inside = path.strip_prefix("src").unwrap().with_extension("");
        let segments: Vec<_> = inside.iter().map(|s| s.to_str().unwrap()).collect();
        // lib.rs sees everything, the command is a crate of its own, unit tests may
        // use the whole crate, and a
        // parent's mod.rs lists its rooms.
        let is_list = segments.len() == 2 && segments[1] == "mod" && parents.contains(segments[0]);
        if matches!(segments[..], ["lib"] | ["bin", ..] | [.., "tests"]) || is_list {
            continue;
        }
        let room = room_of(&segments, rooms)
            .unwrap_or_else(|| panic!("docs/design.md does not name the room of {path:?}"));
        let place = |name: &String| rooms.iter().position(|room| room == name).unwrap();
        for import in imports(&code(&path)) {
            let names: Vec<_> = import.iter().map(String::as_str).collect();
            let exported = exports.get(names[0]).and_then(|items| items.get(names[1]));
            let Some(target) = exported.cloned().or_else(|| room_of(&names, rooms)) else {
                upward.push(format!(
                    "{}: crate::{} is no room",
                    path.display(),
                    names[0]
                ));
                continue;
            };
            if place(&target) > place(&room) {
                let from = path.display();
                upward.push(format!(
                    "{from}: {room} imports {target}, which is above it"
                ));
            }
        }
    }
    upward
}

#[test]
fn every_room_imports_only_from_rooms_before_it() {
    let upward = upward_imports(&stated_order());
    assert!(upward.is_empty(), "\n{}", upward.join("\n"));
}

#[test]
fn every_stated_room_exists_and_is_stated_once() {
    let rooms = stated_order();
    let unique: BTreeSet<_> = rooms.iter().collect();
    assert_eq!(unique.len(), rooms.len());
    for room in &rooms {
        let path = Path::new("src").join(room.replace("::", "/"));
        assert!(
            path.is_dir() || path.with_extension("rs").is_file(),
            "{room}"
        );
    }
}

#[test]
fn an_order_that_does_not_hold_is_noticed() {
    let mut rooms = stated_order();
    rooms.reverse();
    assert!(upward_imports(&rooms).len() > 50);
}
