//! Arguments, help, the list of formats.

use testkit::Folder;

#[test]
fn wrong_arguments_are_one_line_and_exit_code_2() {
    let folder = Folder::new();
    for (line, words) in [
        ("dump", &["--from", "--to"][..]),
        ("dump --from demo:16M", &["--to"]),
        ("dump --from demo:16M --to x --begin 0", &["--length"]),
        ("dump --from demo:16M --to x --length 4096", &["--begin"]),
        ("dump --from demo:16Q --to x", &["16Q", "256M"]),
        ("dump --from other:x --to x", &["raw:PATH"]),
        ("dump --from demo:16M --to fd:x", &["fd:3"]),
        ("dump --from demo:16M --to file:", &["target"]),
        (
            "dump --from demo:16M --to x --format kdump",
            &["'kdump'", "guestdump formats"],
        ),
        ("dump --from demo:16M --to x --threads x", &["threads"]),
        (
            "dump --from demo:16M --to x --throttle fast",
            &["fast", "256M"],
        ),
        (
            "dump --from demo:16M --to x --progress yes",
            &["auto, always, never"],
        ),
        (
            "dump --from demo:16M --to x --map map.json",
            &["--map", "raw:"],
        ),
        (
            "dump --from demo:16M --to x --machine x86_64",
            &["--machine", "raw:"],
        ),
        (
            "dump --from vmcore:y --to x --page-size 4K",
            &["--page-size", "raw:"],
        ),
        ("dump --from raw:y --to x --machine z80", &["z80"]),
        ("dump --from demo:16M --to x --frob", &["'--frob'"]),
        (
            "dump --from demo:16M --to x --pagin",
            &["'--pagin'; did you mean '--paging'?"],
        ),
        (
            "dump --from demo:16M --to x --on-read-error ski",
            &["[possible values: fail, zero, skip]; did you mean 'skip'?"],
        ),
        (
            "dump --from demo:16M --to x --to y",
            &["'--to <TARGET>' may be given only once"],
        ),
        (
            "dump --from demo:16M --to",
            &["'--to <TARGET>' needs a value"],
        ),
        (
            "dump --from demo:16M --to x --force=x",
            &["'x' for '--force', which takes no value"],
        ),
        ("dmp", &["there is no command 'dmp'; did you mean 'dump'?"]),
        ("info", &["FILE"]),
        ("check", &["FILE"]),
        ("rearrange flat", &["RAW"]),
        ("formats x", &["'x'"]),
    ] {
        folder.run(line).fails(2, words);
    }
    folder
        .command([] as [&str; 0])
        .output()
        .map(testkit::Run)
        .unwrap()
        .fails(2, &["dump", "--help"]);
    assert!(folder.names().is_empty());
}

#[test]
fn an_argument_cannot_break_the_line() {
    let folder = Folder::new();
    let run = folder.command(["info", "a\nb\u{1b}[2J"]).output().unwrap();
    testkit::Run(run).fails(1, &["a\\nb\\u{1b}[2J"]);
}

#[test]
fn help_and_version_go_to_stdout() {
    let folder = Folder::new();
    let version = folder.run("--version");
    let expected = format!("guestdump {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.ok(), expected);
    for line in [
        "--help",
        "dump --help",
        "info --help",
        "check --help",
        "dmesg --help",
        "map --help",
        "rearrange --help",
        "qmp-resume --help",
        "formats --help",
    ] {
        let run = folder.run(line);
        assert!(run.ok().contains("Example"), "{line}");
        assert_eq!(run.stderr(), "");
        let is_option = |word: &&str| word.starts_with("--") && word.len() > 2;
        for word in run.ok().split_whitespace().filter(is_option) {
            let word = word.trim_end_matches(|c: char| !c.is_ascii_lowercase());
            let documented = include_str!("../../docs/command.md").contains(word);
            assert!(
                documented || word == "--help" || word == "--version",
                "{word}"
            );
        }
    }
    let help = folder.run("dump --help");
    for word in [
        "--from",
        "--to",
        "--format",
        "--threads",
        "--begin",
        "--length",
        "--vmcoreinfo",
        "--progress",
        "--json",
        "--force",
        "--map",
        "K, M, G and T",
    ] {
        assert!(help.ok().contains(word), "{word}");
    }
}

#[test]
fn formats_are_listed() {
    let folder = Folder::new();
    let text = folder.run("formats");
    let list = folder.run("formats --json").json();
    let available: Vec<_> = guestdump::Format::available().collect();
    let formats = list["formats"].as_array().unwrap();
    assert_eq!(formats.len(), available.len());
    for (entry, format) in formats.iter().zip(&available) {
        assert_eq!(entry["name"], format.name());
        assert_eq!(entry["needs_positions"], format.needs_positions());
        assert_eq!(entry["codec"].is_null(), format.codec().is_none());
        let compressors = entry["compressors"].as_array().unwrap();
        let default = format.codec().map(|codec| codec.default_engine().name());
        let first = compressors.first().and_then(|name| name.as_str());
        assert_eq!(first, default, "{format}");
        let mut rows = text.ok().lines();
        let row = rows
            .find(|row| row.starts_with(&format!("{format} ")))
            .unwrap();
        for name in compressors {
            assert!(row.contains(name.as_str().unwrap()), "{row}");
        }
    }
    let lines: Vec<&str> = text.ok().lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(lines.len(), 1 + available.len());
    let missing = list["missing"].as_array().unwrap();
    assert_eq!(formats.len() + missing.len(), guestdump::Format::ALL.len());
    for entry in missing {
        let name = entry["name"].as_str().unwrap();
        assert!(available.iter().all(|format| format.name() != name));
        assert!(entry["feature"].is_string());
    }
}

#[test]
fn the_compressor_is_chosen_by_name_and_refused_if_it_does_not_fit() {
    let folder = Folder::new();
    let line = "dump --from demo:16M --format kdump-raw-zlib --progress never";
    folder.run(&format!("{line} --to default")).ok();
    let by = |name: &str| folder.run(&format!("{line} --to {name} --compressor {name}"));
    by("zlib-rs").ok();
    assert!(folder.read("zlib-rs") == folder.read("default"));
    by("zlib").fails(2, &["there is no compressor 'zlib'", "guestdump formats"]);
    by("zstd").fails(1, &["kdump-raw-zlib", "compressor zstd"]);
    if cfg!(feature = "libdeflate") {
        by("libdeflate").ok();
        assert!(folder.read("libdeflate") != folder.read("default"));
        folder.run("check libdeflate").ok();
        assert_eq!(folder.names(), ["default", "libdeflate", "zlib-rs"]);
    } else {
        by("libdeflate").fails(1, &["libdeflate", "feature 'libdeflate'"]);
        assert_eq!(folder.names(), ["default", "zlib-rs"]);
    }
}

#[cfg(not(feature = "snappy"))]
#[test]
fn a_format_without_its_feature_is_refused_by_name() {
    let folder = Folder::new();
    folder
        .run("dump --from demo:16M --to x --format kdump-snappy")
        .fails(1, &["kdump-snappy", "feature 'snappy'"]);
    assert!(folder.names().is_empty());
}

#[test]
fn options_that_would_be_ignored_are_refused() {
    let folder = Folder::new();
    for (line, words) in [
        ("dmesg vmcore:x --map m", &["--map", "raw:PATH"][..]),
        ("dmesg vmcore:x --machine arm", &["--machine", "raw:PATH"]),
        ("dmesg vmcore:x --raw-anyway", &["--raw-anyway", "raw:PATH"]),
        ("map qmp:x --machine arm", &["--machine", "raw:PATH"]),
        ("map qmp:x --raw-anyway", &["--raw-anyway", "raw:PATH"]),
        (
            "map process-core:x --raw-anyway",
            &["--raw-anyway", "raw:PATH"],
        ),
        (
            "dump --from demo --to x --format elf --windows-header h",
            &["--windows-header", "win-dmp"],
        ),
        (
            "dump --from demo --to x --windows-damaged",
            &["--windows-damaged", "win-dmp"],
        ),
    ] {
        folder.run(line).fails(2, words);
    }
}
