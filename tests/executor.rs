//! A dump on the caller's own threads.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use guestdump::memory::SliceMemory;
use guestdump::sink::BufferSink;
use guestdump::{
    DumpOptions, Error, Executor, Fault, Format, GuestInfo, GuestMemory, Machine, MemoryRange, dump,
};

const RAM: usize = 6 << 20;

/// Notes which threads read.
struct Watched<'a> {
    ram: SliceMemory<'a>,
    readers: Mutex<BTreeSet<String>>,
}

impl GuestMemory for Watched<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.ram.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let name = thread::current().name().unwrap_or("?").to_owned();
        self.readers.lock().unwrap().insert(name);
        self.ram.read(gpa, buf)
    }
}

/// Calls the work on this many threads of its own.
#[derive(Debug)]
struct Pool(usize);

impl Executor for Pool {
    fn run(&self, threads: usize, work: &(dyn Fn() + Sync)) {
        // Of short work there may be less than for all.
        assert!((1..=4).contains(&threads), "{threads}");
        thread::scope(|scope| {
            for _ in 0..self.0 {
                thread::Builder::new()
                    .name("pool".into())
                    .spawn_scoped(scope, work)
                    .unwrap();
            }
        });
    }
}

fn dumped(format: Format, executor: Option<Arc<dyn Executor>>) -> (Vec<u8>, BTreeSet<String>) {
    let bytes: Vec<u8> = (0..RAM).map(|i| (i / 4096 * 7 + i % 61) as u8).collect();
    let memory = Watched {
        ram: SliceMemory::new([(0, &bytes[..])]).unwrap(),
        readers: Mutex::default(),
    };
    let mut options = DumpOptions::new(GuestInfo::new(Machine::X86_64), format).threads(4);
    if let Some(executor) = executor {
        options = options.executor(executor);
    }
    let mut sink = BufferSink::new();
    assert_eq!(dump(&memory, &mut sink, &options).unwrap().threads, 4);
    (sink.into_bytes(), memory.readers.into_inner().unwrap())
}

#[test]
fn the_callers_threads_do_the_work_and_no_others_are_started() {
    let formats = [Format::Elf, Format::KDUMP_SNAPPY];
    for format in formats.into_iter().filter(|f| f.is_available()) {
        let (expected, _) = dumped(format, None);
        for threads in [1, 4, 9] {
            let (bytes, readers) = dumped(format, Some(Arc::new(Pool(threads))));
            assert!(bytes == expected, "{format}, {threads} threads");
            let strangers = readers.iter().filter(|r| r.starts_with("guestdump"));
            assert_eq!(strangers.count(), 0, "{readers:?}");
            assert!(readers.contains("pool"));
        }
    }
}

#[test]
fn an_executor_that_runs_nothing_leaves_all_to_the_caller() {
    let (expected, _) = dumped(Format::Elf, None);
    let (bytes, readers) = dumped(Format::Elf, Some(Arc::new(Pool(0))));
    assert!(bytes == expected);
    assert_eq!(readers.len(), 1);
}

#[derive(Debug)]
struct Panicking;

impl Executor for Panicking {
    fn run(&self, _: usize, _: &(dyn Fn() + Sync)) {
        panic!("no threads left");
    }
}

#[test]
fn an_executor_that_panics_is_an_error() {
    let ram = vec![1; 4 << 20];
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let options = DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::Elf)
        .threads(2)
        .executor(Arc::new(Panicking));
    let error = dump(&memory, &mut BufferSink::new(), &options).unwrap_err();
    assert!(
        matches!(&error, Error::Failed(Fault::Panicked(text)) if text == "no threads left"),
        "{error}"
    );
}
