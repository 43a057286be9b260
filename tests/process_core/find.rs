//! QEMU's RAM in its core, found without a map.

use guestdump::abi::Utsname;
use guestdump::demo::DemoGuest;
use guestdump::process_core::{ProcessCore, ProcessCoreError, QemuRam, SearchError};
use guestdump::{GuestMemory, Machine, MemoryRange, Progress};
use testkit::core_file::{
    Core, DEMO_SIZE, DIRECT_MAP, LINUX_HVA as HVA, Load, RX, linux_guest, map_gib, set_gib,
};
use zerocopy::IntoBytes;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What of the demo guest's memory has its kernel.
const KERNEL: u64 = 8 * MIB;

/// QEMU's RAM block of the small guest.
fn small() -> Load {
    linux_guest(&DemoGuest::new(DEMO_SIZE).unwrap())
}

fn find(core: &Core) -> Result<QemuRam, ProcessCoreError> {
    ProcessCore::open(core.write())
        .unwrap()
        .find_qemu_ram(None, &Progress::new())
}

/// Guest-physical address, size and host-virtual address of each block.
fn blocks(ram: &QemuRam) -> Vec<(u64, u64, u64)> {
    assert_eq!(ram.machine, Machine::X86_64);
    let each = ram.blocks.iter();
    each.map(|b| (b.range.start(), b.range.size(), b.hva))
        .collect()
}

/// QEMU's other memory, larger and smaller than the guest's.
fn others() -> Vec<Load> {
    vec![
        Load {
            flags: RX | 2,
            ..Load::new(0x5555_0000_0000, 16 * GIB)
        },
        Load::filled(0x6000_0000_0000, vec![3; 8 * MIB as usize]),
        Load::left_out(0x6100_0000_0000, 16 * GIB),
        Load::new(0x6200_0000_0000, 2 * MIB),
    ]
}

/// A guest of `high` GiB above 4 GiB, and 3 GiB below, as one block.
fn large(high: u64) -> Load {
    // The demo guest has what the VGA hole hides above 4 GiB.
    let guest = DemoGuest::new((3 + high) * GIB - 0x6_0000).unwrap();
    let end = guest.ranges().last().unwrap().end();
    assert_eq!(end, (4 + high) * GIB);
    Load::new(HVA, (3 + high) * GIB)
        .with(&guest, MIB, KERNEL - MIB, MIB)
        .with(&guest, 4 * GIB, 16 * MIB, 3 * GIB)
        .with(
            &guest,
            end - 16 * MIB,
            16 * MIB,
            (3 + high) * GIB - 16 * MIB,
        )
}

#[test]
fn a_guest_below_4_gib_is_found() {
    let mut loads = others();
    loads.push(small());
    let file = Core::new(loads).write();
    let core = ProcessCore::open(file).unwrap();
    let ram = core.find_qemu_ram(None, &Progress::new()).unwrap();
    assert_eq!(
        blocks(&ram),
        [
            (0, 0xa_0000, HVA),
            (0xc_0000, 32 * MIB - 0xc_0000, HVA + 0xc_0000)
        ]
    );
    let memory = core.extract(&ram.blocks).unwrap().into_memory().unwrap();
    let guest = DemoGuest::new(64 * MIB).unwrap();
    let (mut ours, mut theirs) = ([0; 4096], [0; 4096]);
    for page in (MIB..32 * MIB)
        .step_by(4096)
        .filter(|p| *p != DIRECT_MAP && *p != 31 * MIB)
    {
        memory.read(page, &mut ours).unwrap();
        guest.read(page, &mut theirs).unwrap();
        assert!(ours == theirs, "{page:#x}");
    }
}

#[test]
fn page_tables_say_where_ram_is_split() {
    let mut loads = others();
    loads.push(large(4));
    let ram = find(&Core::new(loads)).unwrap();
    assert_eq!(
        blocks(&ram),
        [
            (0, 0xa_0000, HVA),
            (0xc_0000, 3 * GIB - 0xc_0000, HVA + 0xc_0000),
            (4 * GIB, 4 * GIB, HVA + 3 * GIB),
        ]
    );
}

#[test]
fn memory_that_is_not_in_the_block_is_noticed() {
    // A guest that has one more GiB than the block, at its end or behind a
    // gap, as with a hot-plugged DIMM.
    for gib in [8, 20] {
        let mut load = large(4);
        map_gib(&mut load, gib, true);
        refused(&Core::new([load]), &["6.1.0-guestdump-demo", "map"]);
    }
    // A guest with less.
    let mut load = large(4);
    map_gib(&mut load, 7, false);
    refused(&Core::new([load]), &["6.1.0-guestdump-demo", "map"]);
}

#[test]
fn page_tables_outside_the_block_prove_nothing() {
    // With `max-ram-below-4g`, the tables of RAM above 4 GiB may lie there.
    let mut load = small();
    set_gib(&mut load, 4, 5 << 30 | 0x63);
    refused(&Core::new([load]), &["6.1.0-guestdump-demo", "map"]);
}

/// QEMU's RAM block of 64 MiB of a guest whose `init_uts_ns` lies 1 MiB
/// behind its beginning.
fn other_architecture(uname: &str, init_uts_ns: u64, more: &str) -> Load {
    let uts = Utsname {
        sysname: Utsname::field("Linux"),
        release: Utsname::field("6.1.0-other"),
        machine: Utsname::field(uname),
        ..Utsname::default()
    };
    let info = format!(
        "OSRELEASE=6.1.0-other\nPAGESIZE=4096\nSYMBOL(init_uts_ns)={init_uts_ns:x}\n\
         OFFSET(uts_namespace.name)=0\n{more}\0"
    );
    let mut load = Load::new(HVA, 64 * MIB);
    load.data.push((MIB, uts.as_bytes().to_vec()));
    load.data.push((2 * MIB, info.into_bytes()));
    load
}

#[test]
fn other_architectures_have_their_own_arrangements() {
    for (machine, uname, init_uts_ns, more, start) in [
        (
            Machine::Aarch64,
            "aarch64",
            0xffff_8000_0810_0000,
            "NUMBER(kimage_voffset)=0xffff7fffc8000000\n",
            GIB,
        ),
        (
            Machine::Riscv64,
            "riscv64",
            0xffff_ffff_8010_0000,
            "NUMBER(phys_ram_base)=2147483648\nNUMBER(KERNEL_LINK_ADDR)=0xffffffff80000000\n\
             NUMBER(va_kernel_pa_offset)=0xffffffff00000000\n",
            2 * GIB,
        ),
        // Alike, but for what the kernel says.
        (Machine::Ppc64le, "ppc64le", 0xc000_0000_0010_0000, "", 0),
        (Machine::Ppc64, "ppc64", 0xc000_0000_0010_0000, "", 0),
    ] {
        let load = other_architecture(uname, init_uts_ns, more);
        let core = ProcessCore::open(Core::new([load]).write()).unwrap();
        let progress = Progress::new();
        let ram = core.find_qemu_ram(None, &progress).unwrap();
        assert_eq!(ram.machine, machine);
        let blocks: Vec<_> = ram.blocks.iter().map(|b| (b.range, b.hva)).collect();
        assert_eq!(blocks, [(MemoryRange::new(start, 64 * MIB).unwrap(), HVA)]);
        assert_eq!(core.find_qemu_ram(Some(machine), &progress).unwrap(), ram);
        let wrong = core.find_qemu_ram(Some(Machine::X86_64), &progress);
        assert!(wrong.is_err(), "{machine}");
    }
}

#[test]
fn arrangements_that_fit_alike_are_refused() {
    // No check of page tables for i386: RAM may be split in several places.
    let mut load = other_architecture("i686", 0xc010_0000, "");
    load.memsz = 5 * GIB;
    load.filesz = 5 * GIB;
    refused(&Core::new([load]), &["several", "i386 0x0..0xa0000", "map"]);
}

#[track_caller]
fn refused(core: &Core, words: &[&str]) {
    let error = find(core).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ProcessCoreError::NotFound(_)), "{text}");
    for word in words {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
}

#[test]
fn what_cannot_be_proven_is_refused_with_the_reason() {
    // A kernel whose VMCOREINFO is there, but not its utsname.
    let mut load = small();
    let release = b"6.1.0-guestdump-demo\0";
    for (_, bytes) in &mut load.data {
        let found = bytes.windows(release.len()).position(|w| w == release);
        if let Some(at) = found {
            bytes[at] = b'5';
        }
    }
    refused(&Core::new([load]), &["6.1.0-guestdump-demo", "map"]);

    let mut loads = others();
    let lost = &[
        "VMCOREINFO",
        "none of",
        "0x610000000000",
        "MADV_DONTDUMP",
        "map",
    ];
    refused(&Core::new(loads.clone()), lost);
    loads.retain(|load| load.filesz > 0);
    refused(&Core::new(loads), &["VMCOREINFO", "dump-guest-core=off"]);

    let mut core = Core::new([Load::left_out(HVA, 64 * MIB)]);
    refused(&core, &["dump-guest-core=off", "0x7fb2a7e00000", "map"]);
    core.mapped_files = vec![(HVA, HVA + 64 * MIB, 0, "/dev/shm/vm0")];
    refused(&core, &["/dev/shm/vm0", "map"]);
    refused(&Core::new([]), &["no segment", "dump-guest-core=off"]);
    // gdb writes no program header for what it leaves out.
    core.loads.clear();
    refused(&core, &["no segment", "/dev/shm/vm0"]);
}

#[test]
fn a_search_can_be_cancelled() {
    let progress = Progress::new();
    progress.cancel();
    let core = ProcessCore::open(Core::new([small()]).write()).unwrap();
    let error = core.find_qemu_ram(None, &progress).unwrap_err();
    assert!(
        matches!(error, ProcessCoreError::NotFound(SearchError::Cancelled)),
        "{error}"
    );
}
