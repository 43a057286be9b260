//! `--dump-level` and `--exclude`. The demo guest's kernel has no `struct
//! page`s; tests/linux has some, tests/interop real kernels.

use testkit::Folder;

#[test]
fn a_level_needs_a_kernel_that_is_understood() {
    let folder = Folder::new();
    for (option, level) in [
        ("--dump-level 16", 16),
        ("--dump-level 31", 31),
        ("--exclude free", 16),
        ("--exclude cache", 6),
        ("--exclude user,free,cache,zero", 31),
    ] {
        let line = format!("dump --from demo:16M --to x {option}");
        let words = [&format!("dump level {level} ")[..], "VMCOREINFO", "no "];
        folder.run(&line).fails(1, &words);
        assert!(folder.names().is_empty());
    }
    let run = folder.run(
        "dump --from demo:16M --to x --dump-level 31 --on-unknown-kernel dump-all --json --format elf",
    );
    let excluded = &run.json()["excluded"];
    assert_eq!(excluded["dump_level"], 1);
    assert_eq!(excluded["pages"], 0);
    let why = excluded["not_understood"].as_str().unwrap();
    assert!(why.contains("VMCOREINFO"), "{why}");
    let run = folder
        .run("dump --from demo:16M --to x --force --exclude user --on-unknown-kernel dump-all");
    run.ok();
    let text = run.stderr();
    assert!(text.contains("warning: no page was left out"), "{text}");
    folder.run("check x").ok();
}

#[test]
fn zero_pages_need_no_kernel() {
    let folder = Folder::new();
    for option in ["--dump-level 1", "--exclude zero"] {
        let line = format!("dump --from demo:16M --to x --force --json {option}");
        let excluded = &folder.run(&line).json()["excluded"];
        assert_eq!(excluded["dump_level"], 1);
        // Nor are broken pages known.
        assert!(excluded["not_understood"].is_string());
    }
    let info = folder.run("info x --json").json();
    assert_eq!(info["header"]["dump_level"], 1, "{info}");
}

#[test]
fn impossible_levels_are_refused() {
    let folder = Folder::new();
    for (line, words) in [
        ("--dump-level 32", &["32", "0..=31"][..]),
        ("--dump-level -1", &["-1"]),
        ("--exclude kernel", &["kernel", "zero, cache, user, free"]),
        ("--exclude free --dump-level 1", &["--exclude"]),
        ("--dump-level 1 --on-unknown-kernel guess", &["dump-all"]),
    ] {
        let line = format!("dump --from demo:16M --to x {line}");
        folder.run(&line).fails(2, words);
    }
    folder
        .run("dump --from demo-windows:16M --to x --format win-dmp --dump-level 16")
        .fails(1, &["win-dmp has no dump levels"]);
    assert!(folder.names().is_empty());
}
