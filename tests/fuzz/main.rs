//! The fuzz targets (`fuzz/`) on inputs that are known: the seeds in the
//! repository, which include what made a target fail once, and what a search
//! has found on this machine. See docs/testing.md.
#![allow(missing_docs, clippy::print_stderr, clippy::unwrap_used)]

mod seeds;
#[allow(dead_code)]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use testkit::Random;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Memory is counted in the whole process, so one runs at a time.
fn run(target: &str) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seeds = inputs(&fuzz().join("seeds").join(target));
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let mutations = std::env::var("FUZZ_MUTATIONS").map_or(3, |n| n.parse().unwrap());
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    for file in seeds {
        eprintln!("{}", file.display());
        let seed = fs::read(file).unwrap();
        targets::run(target, &seed);
        for number in 0..mutations {
            let input = mutated(&mut random, &seed);
            let result = catch_unwind(|| targets::run(target, &input));
            if let Err(panic) = result {
                let kept = std::env::temp_dir().join(format!("fuzz-{target}-{number}"));
                fs::write(&kept, input).unwrap();
                eprintln!("the input is in {}", kept.display());
                resume_unwind(panic);
            }
        }
    }
    targets::run(target, b"");
}

/// The input with a few changes, such as a fuzzer makes.
fn mutated(random: &mut Random, input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        let rest = bytes.len() - at;
        match random.below(5) {
            0 if rest > 0 => bytes[at] ^= 1 << random.below(8),
            1 if rest > 0 => bytes[at] = random.below(256) as u8,
            2 => {
                let len = rest.min(1 << random.below(4));
                bytes[at..at + len].fill([0, 0xff, 0x7f, 0x80][random.below(4)]);
            }
            3 => drop(bytes.drain(at..at + rest.min(random.below(64)))),
            _ => {
                let from = random.below(bytes.len());
                let part = bytes[from..bytes.len().min(from + random.below(32))].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

macro_rules! tests {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            run(stringify!($target));
        })*

        #[test]
        fn every_target_is_here_and_a_program() {
            let here = [$(stringify!($target)),*];
            let names: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, here);
            let program = |name: &&str| fuzz().join(format!("fuzz_targets/{name}.rs"));
            assert!(names.iter().map(program).all(|path| path.is_file()));
        }
    };
}

tests! {
    elf kdump flattened windmp notes vmcoreinfo map qmp qemu process_core
    page_tables windows_guest vmcoreinfo_scan round_trip linux_log linux_pages headers
}

/// Inputs that `fuzz/run` has found: in the folder that `FUZZ_CORPUS` names.
#[test]
#[ignore = "needs FUZZ_CORPUS: a folder with one for each target"]
fn corpus() {
    let folder = std::env::var_os("FUZZ_CORPUS").map(PathBuf::from).unwrap();
    for (target, body) in targets::TARGETS {
        for file in inputs(&folder.join(target)) {
            eprintln!("{}", file.display());
            body(&fs::read(file).unwrap());
        }
    }
}

/// Renews those seeds that are made.
#[test]
#[ignore = "writes to the repository: fuzz/seeds"]
fn write_seeds() {
    seeds::write(&fuzz().join("seeds"));
}
