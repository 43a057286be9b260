//! What QEMU's dumps of other architectures than x86_64 have wrong, and ours
//! right. The evidence is in docs/compatibility.md.
#![allow(clippy::unwrap_used)]

use guestdump::abi::Utsname;
use guestdump::elf::Note;
use guestdump::guest::vmcoreinfo::{Located, VmcoreinfoSource};
use guestdump::memory::SliceMemory;
use guestdump::read::{Headers, Vmcore};
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};
use testkit::open;
use testkit::options::With;

const PAGE: usize = 64 << 10;

/// RAM of 16 pages of 64 KiB.
struct Guest {
    machine: Machine,
    ram_start: u64,
    ram: Vec<u8>,
}

impl Guest {
    fn new(machine: Machine, ram_start: u64) -> Self {
        Self {
            machine,
            ram_start,
            ram: vec![0; 16 * PAGE],
        }
    }

    /// Puts bytes at an offset in RAM.
    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.ram[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn options(&self) -> DumpOptions {
        DumpOptions::new(GuestInfo::new(self.machine), raw_kdump())
    }

    /// Writes a dump and opens it.
    fn dump(&self, options: &DumpOptions) -> (Vmcore, Option<Located>) {
        let memory = SliceMemory::new([(self.ram_start, &self.ram[..])]).unwrap();
        let mut sink = BufferSink::new();
        let located = dump(&memory, &mut sink, options).unwrap().vmcoreinfo;
        (open(&sink.into_bytes()), located)
    }
}

/// A kdump format that this build has, raw so that it opens as it is.
fn raw_kdump() -> Format {
    let mut formats = Format::available();
    formats.find(|f| f.needs_positions()).unwrap()
}

/// Whether this build has no kdump format.
fn without_kdump() -> bool {
    !Format::available().any(|f| f.needs_positions())
}

fn block_size(vmcore: &Vmcore) -> u64 {
    match vmcore.headers() {
        Headers::Kdump { main, .. } => main.block_size.into(),
        other => panic!("{other:?}"),
    }
}

fn phys_base(vmcore: &Vmcore) -> u64 {
    match vmcore.headers() {
        Headers::Kdump { sub, .. } => sub.phys_base,
        other => panic!("{other:?}"),
    }
}

/// The six strings at `init_uts_ns.name`.
fn utsname(release: &str) -> Vec<u8> {
    ["Linux", "guest", release, "#1 SMP", "", "(none)"]
        .iter()
        .flat_map(Utsname::field)
        .collect()
}

/// The note as the guest's kernel keeps it.
fn note(machine: Machine, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Note {
        name: b"VMCOREINFO",
        kind: 0,
        desc: text.as_bytes(),
    }
    .encode(machine.encoding().order, &mut bytes)
    .unwrap();
    bytes
}

/// QEMU's `block_size` is 65536 for every aarch64 guest.
#[test]
fn arm64_block_size_is_vmcoreinfos_page_size_not_65536() {
    if without_kdump() {
        return;
    }
    for page_size in [4096, 16 << 10, 64 << 10] {
        let text = format!("OSRELEASE=6.1.0\nPAGESIZE={page_size}\n");
        let guest = Guest::new(Machine::Aarch64, 0x4000_0000);
        let source = VmcoreinfoSource::Bytes(text.into_bytes());
        let options = guest.options().with_guest(|guest| guest.vmcoreinfo(source));
        let (vmcore, _) = guest.dump(&options);
        assert_eq!(block_size(&vmcore), page_size);

        // QEMU's own dump, converted.
        let (theirs, _) = guest.dump(&options.with_guest(|guest| guest.page_size(65536)));
        assert_eq!(block_size(&theirs), 65536);
        let mut sink = BufferSink::new();
        dump(&theirs, &mut sink, &theirs.options(raw_kdump()).unwrap()).unwrap();
        let converted = open(&sink.into_bytes());
        assert_eq!(block_size(&converted), page_size);
    }
}

/// QEMU takes the beginning of RAM for it, whatever the kernel says.
#[test]
fn arm64_phys_base_is_vmcoreinfos_phys_offset_or_else_where_ram_begins() {
    if without_kdump() {
        return;
    }
    for (line, expected) in [
        ("NUMBER(PHYS_OFFSET)=0x80000000\n", 0x8000_0000),
        ("", 0x4000_0000),
    ] {
        let text = format!("OSRELEASE=6.1.0\n{line}");
        let guest = Guest::new(Machine::Aarch64, 0x4000_0000);
        let source = VmcoreinfoSource::Bytes(text.into_bytes());
        let options = guest.options().with_guest(|guest| guest.vmcoreinfo(source));
        let (vmcore, _) = guest.dump(&options);
        assert_eq!(phys_base(&vmcore), expected);
    }
}

/// s390x and ppc64 guests have no vmcoreinfo device, so QEMU's dumps of them
/// have no VMCOREINFO. Both forms of it in RAM are found, each alone, and lead
/// to `init_uts_ns`.
#[test]
fn s390x_and_ppc64el_have_vmcoreinfo_without_a_vmcoreinfo_device() {
    if without_kdump() {
        return;
    }
    let uts_at = 9 * PAGE + 0x898;
    let arm_image = "SYMBOL(_stext)=c0100000\n";
    for (machine, ram_start, vaddr, lines) in [
        (Machine::S390x, 0, uts_at, "KERNELOFFSET=1000000\n"),
        (
            Machine::S390x,
            0,
            0x3ff_e000_0000 + uts_at - 0x10000,
            "KERNELOFFSET=3ffe0000000\nKERNELOFFPHYS=10000\n",
        ),
        (Machine::Ppc64le, 0, 0xc000_0000_0000_0000 + uts_at, ""),
        (Machine::Ppc64, 0, 0xc000_0000_0000_0000 + uts_at, ""),
        (
            Machine::Aarch64Be,
            0x4000_0000,
            0xffff_8000_0800_0000 + uts_at,
            "NUMBER(kimage_voffset)=0xffff7fffc8000000\n",
        ),
        (Machine::Arm, 0x4000_0000, 0xc000_0000 + uts_at, arm_image),
    ] {
        let text = format!(
            "OSRELEASE=6.1.0-guest\nPAGESIZE=4096\nSYMBOL(init_uts_ns)={vaddr:x}\n\
             OFFSET(uts_namespace.name)=0\n{lines}"
        );
        let note = note(machine, &text);
        // Kernels have them at the beginning of a page of their own size.
        for found in [&note[..], text.as_bytes()] {
            let guest = Guest::new(machine, ram_start)
                .put(3 * PAGE + 4096, found)
                .put(uts_at, &utsname("6.1.0-guest"));
            let (vmcore, located) = guest.dump(&guest.options());
            let located = located.unwrap_or_else(|| panic!("{machine}: nothing found"));
            assert_eq!(located.info.text(), text.as_bytes());
            assert!(located.candidates[0].verified, "{machine}");
            assert_eq!(vmcore.machine(), Some(machine));
            assert_eq!(vmcore.vmcoreinfo().unwrap().text(), text.as_bytes());
            let uts = vmcore.utsname().unwrap();
            assert_eq!(Utsname::text(&uts.nodename), "guest");
            assert_eq!(Utsname::text(&uts.machine), machine.uname());
        }
    }
}

/// A note in the other byte order is another guest's.
#[test]
fn a_note_in_the_wrong_byte_order_is_not_taken() {
    let text = "OSRELEASE=6.1.0\nPAGESIZE=4096\n";
    let guest = Guest::new(Machine::S390x, 0).put(PAGE, &note(Machine::Ppc64le, text));
    let memory = SliceMemory::new([(0, &guest.ram[..])]).unwrap();
    let options = DumpOptions::new(GuestInfo::new(Machine::S390x), Format::Elf);
    let summary = dump(&memory, &mut BufferSink::new(), &options).unwrap();
    assert!(summary.vmcoreinfo.is_none());
}

/// Guest-virtual and guest-physical address and size of each PT_LOAD.
fn loads(vmcore: &Vmcore) -> Vec<(u64, u64, u64)> {
    match vmcore.headers() {
        Headers::Elf {
            program_headers, ..
        } => program_headers[1..]
            .iter()
            .map(|load| (load.vaddr, load.paddr, load.memsz))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// QEMU says 0. drgn finds the page tables of these kernels by the virtual
/// addresses of PT_LOADs: "recursive address translation" without.
#[test]
fn elf_of_ppc64_and_i386_has_the_kernels_direct_mapping() {
    let info = |text: &str| VmcoreinfoSource::Bytes(format!("OSRELEASE=6.1\n{text}").into_bytes());
    let elf = |guest: &Guest, text: &str| {
        let told = GuestInfo::new(guest.machine).vmcoreinfo(info(text));
        loads(&guest.dump(&DumpOptions::new(told, Format::Elf)).0)
    };
    let size = 16 * PAGE as u64;
    let ppc64 = Guest::new(Machine::Ppc64le, 0);
    assert_eq!(elf(&ppc64, ""), [(0xc000_0000_0000_0000, 0, size)]);

    // Low memory ends 128 MiB below the end of the address space.
    let i386 = Guest::new(Machine::I386, (896 << 20) - size / 2);
    let low = (0xf800_0000 - size / 2, i386.ram_start, size / 2);
    let high = (896 << 20, 896 << 20, size / 2);
    assert_eq!(elf(&i386, "SYMBOL(_stext)=c1000000\n"), [low, high]);
    // Not known without the kernel's address.
    let physical = (i386.ram_start, i386.ram_start, size);
    assert_eq!(elf(&i386, ""), [physical]);
}
