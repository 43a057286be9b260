//! The parts of a dump alone: each compressor on the demo guest's pages that are
//! not zero, the zero scan, the bitmap, the scan for VMCOREINFO.
#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use guestdump::codec::Engine;
use guestdump::kdump::bitmap::set_bits;
use guestdump::memory::is_zero;

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

fn bitmap(c: &mut Criterion) {
    // 1 TiB of guest memory in runs of 1000 pages with a gap of one.
    let frames = (1u64 << 40) / 4096;
    let mut bytes = vec![0u8; (frames / 8) as usize];
    let mut group = c.benchmark_group("bitmap");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("set", |b| {
        b.iter(|| {
            for start in (0..frames - 1000).step_by(1001) {
                set_bits(black_box(&mut bytes), start..start + 1000);
            }
        });
    });
}

criterion_group!(benches, compressors, zero_scan, bitmap);
criterion_main!(benches);
