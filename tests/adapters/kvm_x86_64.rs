//! KVM's structs of an x86_64 CPU.

use guestdump::adapters::kvm::x86_64::{
    MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, debug_registers, registers, segment, sse_of_fpu,
    sse_of_xsave,
};
use guestdump::elf::note::Notes;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::guest::windows::DebugRegisters;
use guestdump::sink::BufferSink;
use guestdump::{ByteOrder, DumpOptions, Format, dump, memory::SliceMemory};
use guestdump::{GuestInfo, Machine};
use kvm_bindings::{
    kvm_debugregs, kvm_dtable, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_xsave,
};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|d| ((d[0] << 4) | d[1]) as u8)
        .collect()
}

/// Little-endian fields, one behind the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u64(&mut self) -> u64 {
        let (first, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        u64::from_le_bytes(*first)
    }

    fn u32(&mut self) -> u32 {
        let (first, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        u32::from_le_bytes(*first)
    }

    /// QEMU's form of a segment, as KVM's.
    fn segment(&mut self) -> kvm_segment {
        let (selector, limit, flags, _) = (self.u32(), self.u32(), self.u32(), self.u32());
        let bit = |at: u32| ((flags >> at) & 1) as u8;
        kvm_segment {
            base: self.u64(),
            limit,
            selector: selector as u16,
            type_: ((flags >> 8) & 15) as u8,
            present: bit(15),
            dpl: ((flags >> 13) & 3) as u8,
            db: bit(22),
            s: bit(12),
            l: bit(21),
            g: bit(23),
            avl: bit(20),
            unusable: 1 - bit(15),
            padding: 0,
        }
    }

    fn table(&mut self) -> kvm_dtable {
        let segment = self.segment();
        kvm_dtable {
            base: segment.base,
            limit: segment.limit as u16,
            padding: [0; 3],
        }
    }
}

/// The attributes in flags; QEMU's emulation has all of the descriptor there.
fn attributes_only(state: &mut [u8]) {
    for at in (0..10).map(|segment| 152 + 24 * segment + 8) {
        state[at] = 0;
        state[at + 2] &= 0xf0;
        state[at + 3] = 0;
    }
}

/// What QEMU 10.0.2 wrote of a booted Debian guest's first CPU, as KVM would
/// have held it, gives the same two notes.
#[test]
fn notes_are_those_of_qemu_for_the_same_cpu() {
    let mut state = unhex(include_str!("data/qemu_state.hex"));
    let status = unhex(include_str!("data/prstatus.hex"));
    let mut f = Fields(&state[8..]);
    let regs = kvm_regs {
        rax: f.u64(),
        rbx: f.u64(),
        rcx: f.u64(),
        rdx: f.u64(),
        rsi: f.u64(),
        rdi: f.u64(),
        rsp: f.u64(),
        rbp: f.u64(),
        r8: f.u64(),
        r9: f.u64(),
        r10: f.u64(),
        r11: f.u64(),
        r12: f.u64(),
        r13: f.u64(),
        r14: f.u64(),
        r15: f.u64(),
        rip: f.u64(),
        rflags: f.u64(),
    };
    let mut sregs = kvm_sregs {
        cs: f.segment(),
        ds: f.segment(),
        es: f.segment(),
        fs: f.segment(),
        gs: f.segment(),
        ss: f.segment(),
        ldt: f.segment(),
        tr: f.segment(),
        gdt: f.table(),
        idt: f.table(),
        cr0: f.u64(),
        ..kvm_sregs::default()
    };
    f.u64(); // cr1
    (sregs.cr2, sregs.cr3, sregs.cr4) = (f.u64(), f.u64(), f.u64());
    let kernel_gs_base = kvm_msr_entry {
        index: MSR_KERNEL_GS_BASE,
        data: f.u64(),
        ..kvm_msr_entry::default()
    };

    let vcpu = registers(&regs, &sregs, &[kernel_gs_base]);
    let ram = [1; 0x1000];
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let mut sink = BufferSink::new();
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64)
            .cpus([vcpu])
            .vmcoreinfo(VmcoreinfoSource::None),
        Format::Elf,
    );
    dump(&memory, &mut sink, &options).unwrap();
    let bytes = sink.into_bytes();
    // Behind the ELF header and two program headers.
    let notes: Vec<_> = Notes::new(&bytes[64 + 2 * 56..], ByteOrder::Little)
        .map_while(Result::ok)
        .take(2)
        .map(|(_, note)| note.desc)
        .collect();
    assert_eq!(notes[0], status);
    attributes_only(&mut state);
    assert_eq!(notes[1], state);
}

/// By hand, from the Intel SDM's descriptor format.
#[test]
fn segment_flags_are_the_bits_of_its_descriptor() {
    let code = kvm_segment {
        base: 0,
        limit: 0xffff_ffff, // bytes, though g is 1
        selector: 0x10,
        type_: 0xb,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..kvm_segment::default()
    };
    let ours = segment(&code);
    assert_eq!(
        (ours.selector, ours.limit, ours.flags),
        (0x10, u32::MAX, 0x00a0_9b00)
    );
    let user = kvm_segment {
        type_: 3,
        dpl: 3,
        db: 1,
        avl: 1,
        l: 0,
        ..code
    };
    assert_eq!(segment(&user).flags, 0x00d0_f300);
    let unusable = kvm_segment {
        unusable: 1,
        ..user
    };
    assert_eq!(segment(&unusable).flags, 0x00d0_7300);
}

#[test]
fn bases_come_from_msrs_too() {
    let msr = |index, data| kvm_msr_entry {
        index,
        data,
        ..kvm_msr_entry::default()
    };
    let mut sregs = kvm_sregs::default();
    sregs.gs.base = 7;
    let msrs = [
        msr(0xc000_0080, 1), // EFER
        msr(MSR_FS_BASE, 2),
        msr(MSR_KERNEL_GS_BASE, 4),
    ];
    let r = registers(&kvm_regs::default(), &sregs, &msrs);
    assert_eq!((r.fs.base, r.gs.base, r.kernel_gs_base), (2, 7, 4));
    let r = registers(&kvm_regs::default(), &sregs, &[msr(MSR_GS_BASE, 3)]);
    assert_eq!((r.fs.base, r.gs.base), (0, 3));
}

#[test]
fn debug_and_sse_registers_come_from_kvms_structs() {
    let debug = kvm_debugregs {
        db: [1, 2, 3, 4],
        dr6: 6,
        dr7: 7,
        ..kvm_debugregs::default()
    };
    let expected = DebugRegisters {
        dr0: 1,
        dr1: 2,
        dr2: 3,
        dr3: 4,
        dr6: 6,
        dr7: 7,
    };
    assert_eq!(debug_registers(&debug), expected);

    let mut fpu = kvm_fpu {
        mxcsr: 0x1f80,
        ..kvm_fpu::default()
    };
    fpu.xmm[15][0] = 0x99;
    fpu.xmm[1][15] = 0x80;
    // The same in FXSAVE's layout, in 32-bit words.
    let mut xsave = kvm_xsave::default();
    xsave.region[24 / 4] = 0x1f80;
    xsave.region[(160 + 15 * 16) / 4] = 0x99;
    xsave.region[(160 + 16 + 12) / 4] = 0x8000_0000;
    let sse = sse_of_fpu(&fpu);
    assert_eq!(sse.mxcsr, 0x1f80);
    assert_eq!((sse.xmm[15], sse.xmm[1]), (0x99, 0x80 << 120));
    assert_eq!(sse_of_xsave(&xsave), sse);
}
