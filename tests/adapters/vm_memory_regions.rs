//! A `GuestRegionCollection` of a monitor's own regions, as Firecracker has it,
//! the same for each version of vm-memory.

use std::sync::Arc;

use guestdump::memory::SliceMemory;
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, Format, GuestInfo, GuestMemory, Machine, dump};
use testkit::range;

use super::adapter::VmMemory;
use super::tests::{MIB, READ_WRITE, assert_populated, ram_file, region};
use super::vmm::guest_memory::{Error, FileOffset, GuestAddress, MemoryRegionAddress, Result};
use super::vmm::{
    Bytes, GuestMemoryRegion, GuestMemoryRegionBytes, GuestRegionCollection, GuestRegionMmap,
    GuestUsize, VolatileSlice,
};

/// A region and what a monitor knows of it besides.
struct Slot {
    inner: GuestRegionMmap,
    /// Whether it says where it is mapped; not every kind of region can.
    addressed: bool,
}

impl GuestMemoryRegion for Slot {
    type B = ();

    fn len(&self) -> GuestUsize {
        self.inner.len()
    }
    fn start_addr(&self) -> GuestAddress {
        self.inner.start_addr()
    }
    fn bitmap(&self) {}
    fn get_host_address(&self, at: MemoryRegionAddress) -> Result<*mut u8> {
        if self.addressed {
            self.inner.get_host_address(at)
        } else {
            Err(Error::HostAddressNotAvailable)
        }
    }
    fn file_offset(&self) -> Option<&FileOffset> {
        self.inner.file_offset()
    }
    fn get_slice(&self, at: MemoryRegionAddress, count: usize) -> Result<VolatileSlice<'_>> {
        self.inner.get_slice(at, count)
    }
}

impl GuestMemoryRegionBytes for Slot {}

const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// Low memory without a file, and behind a gap two regions of one file that
/// touch, the second from the file's beginning on.
fn slots(addressed: bool) -> Vec<Slot> {
    let file = ram_file(4 * MIB);
    let mapped = |gpa, at| {
        let file = FileOffset::new(file.try_clone().unwrap(), at);
        let flags = libc::MAP_SHARED;
        let size = 2 * MIB as usize;
        let mapping = super::vmm::mmap::MmapRegion::build(Some(file), size, READ_WRITE, flags);
        GuestRegionMmap::new(mapping.unwrap(), GuestAddress(gpa)).unwrap()
    };
    let low = region(0, MIB, None, READ_WRITE, ANONYMOUS);
    let regions = [low, mapped(8 * MIB, 2 * MIB), mapped(10 * MIB, 0)];
    regions
        .map(|inner| Slot { inner, addressed })
        .into_iter()
        .collect()
}

#[test]
fn a_collection_of_own_regions_is_dumped_as_the_same_bytes_elsewhere() {
    let bytes: Vec<u8> = (0..4 * MIB).map(|i| (i / 333) as u8).collect();
    let low = vec![7; MIB as usize];
    let plain = SliceMemory::new([(0, &low[..]), (8 * MIB, &bytes[..])]).unwrap();
    let dumped = |memory: &dyn GuestMemory| {
        let mut sink = BufferSink::new();
        dump(
            memory,
            &mut sink,
            &DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::Elf).threads(2),
        )
        .unwrap();
        sink.into_bytes()
    };
    for addressed in [true, false] {
        let ram = GuestRegionCollection::from_regions(slots(addressed)).unwrap();
        for (gpa, bytes) in [(0, &low), (8 * MIB, &bytes)] {
            let mut at = gpa;
            for part in bytes.chunks(MIB as usize) {
                ram.write_slice(part, GuestAddress(at)).unwrap();
                at += MIB;
            }
        }
        let memory = VmMemory::new(&ram).unwrap();
        // A read goes from one region into the next, where they touch.
        let mut across = [0; 64];
        memory.read(10 * MIB - 32, &mut across).unwrap();
        assert_eq!(across, bytes[2 * MIB as usize - 32..][..64]);
        assert!(memory.read(MIB - 32, &mut across).is_err());
        // One list of ranges is longer than the other; the pages are the same.
        let whole = [range(0, MIB), range(8 * MIB, 4 * MIB)];
        let memory = memory.within(&whole).unwrap();
        assert!(dumped(&memory) == dumped(&plain), "{addressed}");
    }
}

#[test]
fn what_own_regions_have_touched_is_known_if_they_have_addresses() {
    let touch = |ram: &GuestRegionCollection<Slot>| {
        ram.write_slice(b"low", GuestAddress(0x4000)).unwrap();
        ram.write_slice(b"high", GuestAddress(10 * MIB + 0x1000))
            .unwrap();
    };
    let ram = GuestRegionCollection::from_regions(slots(true)).unwrap();
    touch(&ram);
    let touched = [range(0x4000, 0x1000), range(10 * MIB + 0x1000, 0x1000)];
    assert_populated(&VmMemory::new(&ram).unwrap(), &touched);

    let ram = GuestRegionCollection::from_regions(slots(false)).unwrap();
    touch(&ram);
    let all = [range(0, MIB), range(8 * MIB, 4 * MIB)];
    assert_populated(&VmMemory::new(&ram).unwrap(), &all);
}

#[test]
fn regions_that_are_plugged_and_unplugged_count_in_the_next_dump() {
    let slot = |gpa| {
        let inner = region(gpa, MIB, None, READ_WRITE, ANONYMOUS);
        let addressed = true;
        Arc::new(Slot { inner, addressed })
    };
    let boot = GuestRegionCollection::from_arc_regions(vec![slot(0)]).unwrap();
    let plugged = boot.insert_region(slot(4 * MIB)).unwrap();
    let before = VmMemory::new(Arc::new(boot)).unwrap();
    let (unplugged, _) = plugged.remove_region(GuestAddress(0), MIB).unwrap();
    let ranges = |ram| VmMemory::new(Arc::new(ram)).unwrap().ranges();
    assert_eq!(ranges(plugged), [range(0, MIB), range(4 * MIB, MIB)]);
    assert_eq!(ranges(unplugged), [range(4 * MIB, MIB)]);
    assert_eq!(before.ranges(), [range(0, MIB)]);
}
