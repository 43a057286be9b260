//! Whole dumps of 256 MiB of the demo guest in a RAM file, to a file, in
//! every format, on one thread and on all. Bytes a second count the guest's
//! memory.
#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};

fn formats(c: &mut Criterion) {
    let guest = corpus::guest();
    let memory = corpus::ram_file(&guest);
    let folder = corpus::folder();
    let path = folder.path().join("dump");
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut group = c.benchmark_group("dump");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(corpus::SIZE));
    for format in Format::available().filter(|format| !format.is_windows()) {
        for threads in [1, cores] {
            let options = DumpOptions::new(
                GuestInfo::new(Machine::X86_64)
                    .vmcoreinfo(VmcoreinfoSource::FwCfg(guest.fw_cfg_entry())),
                format,
            )
            .threads(threads);
            group.bench_function(format!("{format}/{threads}"), |b| {
                b.iter(|| {
                    let options_file = FileSinkOptions::default().overwrite(true);
                    let mut sink = FileSink::create(&path, options_file).unwrap();
                    black_box(dump(&memory, &mut sink, &options).unwrap())
                });
            });
        }
    }
}

criterion_group!(benches, formats);
criterion_main!(benches);
