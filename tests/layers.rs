//! Imports go one way: the rooms of `src/` stand in the order that
//! docs/design.md states, and each room imports only from rooms before it.
//! Files of one room import each other without circles.
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
        // lib.rs sees everything, the command is a crate of its own, unit tests and
        // their helpers may use the whole crate, and a parent's mod.rs lists its rooms.
        let is_list = segments.len() == 2 && segments[1] == "mod" && parents.contains(segments[0]);
        if matches!(
            segments[..],
            ["lib"] | ["bin" | "testing", ..] | [.., "tests"]
        ) || is_list
        {
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

/// A path of names, `crate` and `super` resolved. The command's begin with `bin`.
type ModulePath = Vec<String>;

/// The modules of `src/` with their files.
#[derive(Default)]
struct Modules {
    files: BTreeMap<ModulePath, String>,
    /// The names that each `mod.rs` imports, and what they stand for.
    imported: BTreeMap<ModulePath, BTreeMap<String, ModulePath>>,
    /// What each `mod.rs` imports for itself. What it exports is only a list.
    private: BTreeMap<ModulePath, Vec<ModulePath>>,
}

/// The module that the file is: `guest::paging` for `guest/paging/mod.rs`.
fn module_of(file: &str) -> ModulePath {
    let file = file.strip_suffix(".rs").unwrap();
    let file = file.strip_suffix("/mod").unwrap_or(file);
    let file = file.strip_prefix("bin/guestdump/").map_or_else(
        || file.to_owned(),
        |inside| format!("bin/{}", inside.strip_suffix("main").unwrap_or(inside)),
    );
    file.split('/')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// All paths that `text` begins with: a path, or a group that ends in braces.
fn paths_at(text: &str) -> (Vec<ModulePath>, &str) {
    let text = text.trim_start();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let Some(mut inside) = text.strip_prefix('{') else {
        let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let Some(after) = rest.strip_prefix("::").filter(|_| !name.is_empty()) else {
            return (vec![vec![name.to_owned()]], rest);
        };
        let (mut paths, rest) = paths_at(after);
        for path in &mut paths {
            path.insert(0, name.to_owned());
        }
        return (paths, rest);
    };
    let mut all = Vec::new();
    while !inside.trim_start().starts_with('}') {
        let (paths, rest) = paths_at(inside);
        all.extend(paths);
        // `as` another name does not matter.
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        inside = &rest[end..];
        inside = inside.strip_prefix(',').unwrap_or(inside);
        if inside.is_empty() {
            break;
        }
    }
    let rest = inside.trim_start();
    (all, rest.strip_prefix('}').unwrap_or(rest))
}

/// `path`, as the module `me` writes it, from the crate's root on. `None` if it
/// begins with another crate, or a name that is in scope.
fn absolute(me: &ModulePath, path: &[String]) -> Option<ModulePath> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let (base, rest) = match path.first()?.as_str() {
        "crate" if me.first().is_some_and(|name| name == "bin") => (vec!["bin".to_owned()], 1),
        "crate" => (Vec::new(), 1),
        "self" => (me.clone(), 1),
        "super" => (me[..me.len().checked_sub(ups)?].to_vec(), ups),
        _ => return None,
    };
    let names = path[rest..].iter().filter(|name| *name != "self");
    Some(base.into_iter().chain(names.cloned()).collect())
}

/// The paths that code names by `crate::` or `super::`.
fn named_paths(me: &ModulePath, code: &str) -> Vec<ModulePath> {
    let starts = code.match_indices("crate::");
    let starts = starts.chain(code.match_indices("super::"));
    let is_start = |at: usize| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'))
    };
    starts
        .filter(|(at, _)| is_start(*at))
        .flat_map(|(at, _)| paths_at(&code[at..]).0)
        .filter_map(|path| absolute(me, &path))
        .collect()
}

/// Whether the text before `use` makes it `pub use` or `pub(crate) use`.
fn is_public(before: &str) -> bool {
    let before = before.trim_end();
    before.ends_with("pub") || before.ends_with(')')
}

impl Modules {
    fn add(&mut self, file: &str, code: &str) {
        let me = module_of(file);
        if file.ends_with("mod.rs") {
            let mut names = BTreeMap::new();
            let mut private = Vec::new();
            for statement in code.split(';') {
                let Some((before, path)) = statement.rsplit_once("use ") else {
                    continue;
                };
                if !before.is_empty() && !before.ends_with(['\n', ' ']) {
                    continue;
                }
                for path in paths_at(path).0 {
                    let child = || me.iter().chain(&path).cloned().collect();
                    let path = absolute(&me, &path).unwrap_or_else(child);
                    if !is_public(before) {
                        private.push(path.clone());
                    }
                    names.insert(path.last().unwrap().clone(), path);
                }
            }
            self.imported.insert(me.clone(), names);
            self.private.insert(me.clone(), private);
        }
        self.files.insert(me, file.to_owned());
    }

    /// The file that defines what `path` names, as far as `mod.rs` tells.
    fn file_of(&self, path: &[String]) -> Option<&str> {
        let mut path = path.to_vec();
        // No list imports a name in more steps.
        for _ in 0..9 {
            let len = (1..=path.len())
                .rev()
                .find(|len| self.files.contains_key(&path[..*len]))?;
            let (module, rest) = path.split_at(len);
            let name = rest.first();
            let imported = name.and_then(|name| self.imported.get(module)?.get(name));
            match imported {
                Some(target) if target != &path => path = target.clone(),
                _ => return self.files.get(module).map(String::as_str),
            }
        }
        None
    }

    /// The files from which `file` imports.
    fn imports(&self, file: &str, code: &str) -> BTreeSet<String> {
        let me = module_of(file);
        let named = named_paths(&me, code);
        let private = self.private.get(&me).into_iter().flatten();
        let targets = named
            .iter()
            .chain(private)
            .filter_map(|path| self.file_of(path));
        targets
            .filter(|target| *target != file)
            .map(str::to_owned)
            .collect()
    }
}

/// Each file with the files from which it imports.
fn file_imports() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new("src");
    let files: Vec<_> = sources(root)
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            (name.replace('\\', "/"), code(&path))
        })
        .filter(|(name, _)| !name.ends_with("tests.rs"))
        .collect();
    let mut modules = Modules::default();
    for (file, code) in &files {
        modules.add(file, code);
    }
    files
        .iter()
        .map(|(file, code)| (file.clone(), modules.imports(file, code)))
        .collect()
}

/// The imports that are part of a circle, as `importer -> imported`.
fn imports_in_circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reaches = |from: &String, to: &String| {
        let mut seen = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            if file == to {
                return true;
            }
            let next = imports.get(file).into_iter().flatten();
            open.extend(next.filter(|file| seen.insert(*file)));
        }
        false
    };
    let pairs = imports
        .iter()
        .flat_map(|(file, targets)| targets.iter().map(move |target| (file, target)));
    pairs
        .filter(|(file, target)| reaches(target, file))
        .map(|(file, target)| format!("{file} -> {target}"))
        .collect()
}

#[test]
fn no_circle_between_files() {
    let circles = imports_in_circles(&file_imports());
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_noticed_through_lists_and_groups() {
    let mut modules = Modules::default();
    let files = [
        (
            "a/mod.rs",
            "mod b;\npub use b::{B, C as D};\nuse crate::e::E;\n",
        ),
        (
            "a/b.rs",
            "use crate::{\n    f::{self, F},\n    e::E as _,\n};\n",
        ),
        (
            "a/c.rs",
            "use super::super::a::{E, B};\nfn f(_: crate::f::F) {}\n",
        ),
        ("e.rs", "use std::io;\nuse crate::a::B;\n"),
        ("f.rs", ""),
    ];
    for (file, code) in files {
        modules.add(file, code);
    }
    let imports: BTreeMap<_, BTreeSet<_>> = files
        .iter()
        .map(|(file, code)| (file.to_string(), modules.imports(file, code)))
        .collect();
    assert_eq!(
        imports["a/c.rs"].iter().collect::<Vec<_>>(),
        ["a/b.rs", "e.rs", "f.rs"]
    );
    assert_eq!(
        imports_in_circles(&imports),
        ["a/b.rs -> e.rs", "e.rs -> a/b.rs"]
    );
}
