//! The parts of a dump alone: each compressor on the demo guest's pages that are
//! not zero, the zero scan, page bitmaps, integers.
//!
//! `benches/parts_instructions` counts the instructions of bitmaps and integers.
#![allow(missing_docs, clippy::unwrap_used)]

mod bitmaps;
mod corpus;
mod integers;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use guestdump::ByteOrder;
use guestdump::codec::Engine;
use guestdump::memory::is_zero;

use bitmaps::by_bitvec::ByBitvec;
use bitmaps::former::{Former, set_bits};
use bitmaps::{Bitmaps, Present};

/// The pages that compressors are measured on.
const PAGES: usize = 4096;

fn compressors(c: &mut Criterion) {
    let pages = corpus::pages(&corpus::guest(), PAGES, |page| !is_zero(page));
    let mut group = c.benchmark_group("compressor");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(pages.len() as u64));
    for engine in Engine::ALL.iter().filter(|engine| engine.is_available()) {
        let mut compressor = engine.compressor().unwrap();
        let mut out = Vec::new();
        group.bench_function(engine.name(), |b| {
            b.iter(|| {
                for page in pages.chunks_exact(4096) {
                    out.clear();
                    black_box(compressor.compress(black_box(page), &mut out).unwrap());
                }
            });
        });
    }
}

fn zero_scan(c: &mut Criterion) {
    // Written to, so that it is not one shared page of zeroes.
    let mut zeroes = black_box(vec![1u8; 64 << 20]);
    zeroes.fill(0);
    let guest = corpus::pages(&corpus::guest(), 16384, |_| true);
    let mut group = c.benchmark_group("zero_scan");
    for (name, bytes) in [("zeroes", &zeroes), ("guest", &guest)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let pages = black_box(&bytes[..]).chunks_exact(4096);
                pages.filter(|page| is_zero(page)).count()
            });
        });
    }
}

/// Runs `code` in a function of its own, so that its instructions can be
/// counted.
#[inline(never)]
fn measured<T>(code: impl FnOnce() -> T) -> T {
    black_box(code())
}

fn bitmap(c: &mut Criterion) {
    // 1 TiB of guest memory in runs of 1000 pages with a gap of one.
    let frames = (1u64 << 40) / 4096;
    let mut bytes = vec![0u8; (frames / 8) as usize];
    let mut group = c.benchmark_group("bitmap");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut set = |name: &str, set: fn(&mut [u8], std::ops::Range<u64>)| {
        group.bench_function(name, |b| {
            b.iter(|| {
                measured(|| {
                    for start in (0..frames - 1000).step_by(1001) {
                        set(black_box(&mut bytes), start..start + 1000);
                    }
                });
            });
        });
    };
    set("set/present", guestdump::bitmap::set);
    set("set/former", set_bits);
    group.finish();
    bitmaps_of_a_guest::<Former>(c, "former");
    bitmaps_of_a_guest::<Present>(c, "present");
    bitmaps_of_a_guest::<ByBitvec>(c, "bitvec");
}

/// 64 GiB of guest memory.
fn bitmaps_of_a_guest<B: Bitmaps>(c: &mut Criterion, name: &str) {
    for (pattern, runs) in bitmaps::patterns() {
        let pages: u64 = runs.iter().map(|run| run.end - run.start).sum();
        let mut bitmap = vec![0; (bitmaps::FRAMES / 8) as usize];
        for run in &runs {
            guestdump::bitmap::set(&mut bitmap, run.clone());
        }
        let mut group = c.benchmark_group("bitmap");
        group.sample_size(30);
        group.warm_up_time(std::time::Duration::from_millis(300));
        group.measurement_time(std::time::Duration::from_millis(1000));
        group.bench_function(format!("encode/{pattern}/{name}"), |b| {
            b.iter(|| measured(|| B::encode(black_box(&runs))));
        });
        assert_eq!(B::decode(&bitmap), (runs.len() as u64, pages));
        group.bench_function(format!("decode/{pattern}/{name}"), |b| {
            b.iter(|| measured(|| B::decode(black_box(&bitmap))));
        });
        let (set, new) = B::set(&runs);
        assert_eq!(new, pages);
        group.bench_function(format!("insert/{pattern}/{name}"), |b| {
            b.iter(|| measured(|| B::set(black_box(&runs)).1));
        });
        group.bench_function(format!("next_change/{pattern}/{name}"), |b| {
            b.iter(|| measured(|| B::changes(black_box(&set))));
        });
    }
}

/// Page tables of 4 KiB, whose entries have 8 or 4 bytes.
fn integer(c: &mut Criterion) {
    const TABLES: usize = 64;
    let tables: Vec<u8> = (0..TABLES * 4096).map(|n| ((n * 7) >> 3) as u8).collect();
    let mut group = c.benchmark_group("integer");
    group.sample_size(30);
    group.warm_up_time(std::time::Duration::from_millis(300));
    group.measurement_time(std::time::Duration::from_millis(1000));
    let mut of_tables = |name: &str,
                         order: ByteOrder,
                         size: usize,
                         sum: &dyn Fn(ByteOrder, usize, &[u8]) -> u64| {
        group.bench_function(format!("{size} bytes/{order:?}/{name}"), |b| {
            b.iter(|| {
                measured(|| {
                    let (order, size) = black_box((order, size));
                    let sums = tables
                        .chunks_exact(4096)
                        .map(|table| sum(order, size, table));
                    sums.fold(0, u64::wrapping_add)
                })
            });
        });
    };
    /// Adds the entries of a table as a walk reads them: the size is known at
    /// run time only.
    macro_rules! sum {
        ($read:expr) => {
            &|order, size, table: &[u8]| {
                let entries = (0..table.len() / size).map(|n| &table[n * size..(n + 1) * size]);
                let entries = entries.map(|bytes| black_box($read(order, bytes)));
                entries.fold(0, u64::wrapping_add)
            }
        };
    }
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for size in [8, 4] {
            of_tables("former", order, size, sum!(integers::former_number));
            of_tables("present", order, size, sum!(ByteOrder::number));
            of_tables("read_uint", order, size, sum!(integers::read_uint));
        }
        let former = |order, bytes: &[u8]| integers::former_u64(order, bytes).unwrap_or(0);
        let present = |order: ByteOrder, bytes: &[u8]| order.read(bytes).unwrap_or(0);
        of_tables("former u64", order, 8, sum!(former));
        of_tables("present u64", order, 8, sum!(present));
    }
}

criterion_group!(benches, compressors, zero_scan, bitmap, integer);
criterion_main!(benches);
