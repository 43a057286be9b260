//! On a real guest, by hand: GUESTDUMP_RAM, GUESTDUMP_VMCOREINFO, LEVEL.

use std::fs::File;

use guestdump::linux::{DumpLevel, Kernel};
use guestdump::memory::{FileMemory, FileRegion};
use guestdump::vmcoreinfo::VmcoreinfoSource;
use guestdump::{DumpOptions, Format, Machine, Progress};

#[test]
#[ignore = "needs a guest"]
fn print_excluded() {
    let var = |name: &str| std::env::var(name).unwrap();
    let file = File::open(var("GUESTDUMP_RAM")).unwrap();
    let size = file.metadata().unwrap().len();
    let gpa: u64 = var("GPA").parse().unwrap();
    let memory = FileMemory::new(vec![FileRegion {
        range: guestdump::MemoryRange::new(gpa, size).unwrap(),
        file: file.into(),
        offset: 0,
    }])
    .unwrap();
    let info = std::fs::read(var("GUESTDUMP_VMCOREINFO")).unwrap();
    let options = DumpOptions::new(Format::Elf)
        .machine(var("MACHINE").parse::<Machine>().unwrap())
        .vmcoreinfo(VmcoreinfoSource::Bytes(info));
    let kernel = Kernel::find(&memory, &options).unwrap();
    let level = DumpLevel::new(var("LEVEL").parse().unwrap()).unwrap();
    let begun = std::time::Instant::now();
    let found = kernel.exclusion(level, 2, &Progress::new()).unwrap();
    eprintln!("{:?} {:?}", begun.elapsed(), found.counts());
    for range in found.ranges() {
        println!("{} {}", range.start, range.end);
    }
}
