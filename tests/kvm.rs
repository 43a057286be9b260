//! A real vCPU: a guest of a few instructions runs under KVM, loads known
//! values, and halts. Its dump, by the adapters to vm-memory and kvm-bindings,
//! has these values. Without KVM nothing is tested.
#![cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    feature = "kvm-bindings",
    feature = "vm-memory"
))]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use guestdump::adapters::{kvm::x86_64 as adapter, vm_memory::VmMemory};
use guestdump::arch::x86_64::Segment;
use guestdump::read::Vmcore;
use guestdump::sink::FdSink;
use guestdump::{CpuState, DumpOptions, Format, GuestInfo, GuestMemory, Machine, dump};
use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const RAM: usize = 2 << 20;
const CODE: u64 = 0x1_0000;
const GDT: u64 = 0x6000;
const GDT_REGISTER: u64 = 0x5000;
const STACK: u64 = 0x9000;

/// Nothing, 64-bit code, data, data of user mode: Intel SDM volume 3, 3.4.5.
const DESCRIPTORS: [u64; 4] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_f300_0000_ffff,
];

/// What GNU as makes of:
///
/// ```text
///     lgdt [0x5000]
///     push 8; lea rax, [rip + here]; push rax; retfq
/// here:
///     mov eax, 0x10; mov ss, eax; mov ds, eax
///     mov eax, 0x1b; mov es, eax; mov fs, eax; mov gs, eax
///     mov ecx, 0xc0000100; mov edx, 0x00007f12; mov eax, 0x34567000; wrmsr
///     mov ecx, 0xc0000101; mov edx, 0xffff8880; mov eax, 0x12345000; wrmsr
///     mov ecx, 0xc0000102; mov edx, 0xffff8881; mov eax, 0x54321000; wrmsr
///     movabs rax, 0x0101010101010101; and so on; movabs r15, 0x0f0f0f0f0f0f0f0f
///     movabs [0x8000], rax; std; stc; hlt
/// ```
const PROGRAM: &str = "\
    0f011425005000006a08488d05030000005048cbb8100000008ed08ed8b81b0000008ec08ee08ee8\
    b9000100c0ba127f0000b8007056340f30b9010100c0ba8088ffffb8005034120f30b9020100c0ba\
    8188ffffb8001032540f3048b8010101010101010148bb020202020202020248b903030303030303\
    0348ba040404040404040448be050505050505050548bf060606060606060648bd07070707070707\
    0749b8080808080808080849b9090909090909090949ba0a0a0a0a0a0a0a0a49bb0b0b0b0b0b0b0b\
    0b49bc0c0c0c0c0c0c0c0c49bd0d0d0d0d0d0d0d0d49be0e0e0e0e0e0e0e0e49bf0f0f0f0f0f0f0f\
    0f48a30080000000000000fdf9f4";

fn program() -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&PROGRAM[at..at + 2], 16).unwrap();
    (0..PROGRAM.len()).step_by(2).map(byte).collect()
}

/// A machine with one CPU; `None` if this host cannot.
fn machine(ram: &GuestMemoryMmap) -> Option<(VmFd, VcpuFd)> {
    let vm = Kvm::new().ok()?.create_vm().ok()?;
    // Intel's needs three pages that no guest uses.
    vm.set_tss_address(0xfffb_d000).ok()?;
    let region = kvm_userspace_memory_region {
        memory_size: RAM as u64,
        userspace_addr: ram.get_host_address(GuestAddress(0)).unwrap().addr() as u64,
        ..kvm_userspace_memory_region::default()
    };
    #[allow(unsafe_code)]
    // SAFETY: the mapping is `ram`'s, which outlives the machine, and nobody
    // else has references into it.
    unsafe { vm.set_user_memory_region(region) }.ok()?;
    let vcpu = vm.create_vcpu(0).ok()?;
    Some((vm, vcpu))
}

/// 64-bit mode, with the first 2 MiB mapped to themselves.
fn set_up(ram: &GuestMemoryMmap, vcpu: &VcpuFd) {
    let put = |gpa, value: u64| ram.write_obj(value, GuestAddress(gpa)).unwrap();
    put(0x1000, 0x2003);
    put(0x2000, 0x3003);
    put(0x3000, 0x83);
    for (gpa, descriptor) in (GDT..).step_by(8).zip(DESCRIPTORS) {
        put(gpa, descriptor);
    }
    let limit = size_of_val(&DESCRIPTORS) as u16 - 1;
    ram.write_obj(limit, GuestAddress(GDT_REGISTER)).unwrap();
    put(GDT_REGISTER + 2, GDT);
    ram.write_slice(&program(), GuestAddress(CODE)).unwrap();

    let mut sregs = vcpu.get_sregs().unwrap();
    let cs = &mut sregs.cs;
    (cs.selector, cs.base, cs.limit, cs.g) = (8, 0, u32::MAX, 1);
    (cs.type_, cs.l, cs.db) = (11, 1, 0);
    (sregs.cr0, sregs.cr3, sregs.cr4) = (0x8000_0031, 0x1000, 0x20); // PG, NE, ET, PE; PAE
    sregs.efer = 0x500; // LMA, LME
    vcpu.set_sregs(&sregs).unwrap();
    let regs = kvm_regs {
        rip: CODE,
        rsp: STACK,
        rflags: 2,
        ..kvm_regs::default()
    };
    vcpu.set_regs(&regs).unwrap();
}

/// What loading `selector` makes of a segment register.
fn loaded(selector: u32, base: u64) -> Segment {
    let high = DESCRIPTORS[selector as usize / 8] >> 32;
    Segment {
        selector,
        limit: u32::MAX,
        flags: high as u32 & 0x00f0_ff00,
        base,
    }
}

#[test]
fn a_dump_has_what_the_cpu_was_told() {
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
    let Some((_vm, mut vcpu)) = machine(&ram) else {
        eprintln!("skipped: no KVM here");
        return;
    };
    set_up(&ram, &vcpu);
    let exit = vcpu.run().unwrap();
    assert!(matches!(exit, VcpuExit::Hlt), "{exit:?}");

    let msr = kvm_msr_entry {
        index: adapter::MSR_KERNEL_GS_BASE,
        ..kvm_msr_entry::default()
    };
    let mut msrs = Msrs::from_entries(&[msr]).unwrap();
    assert_eq!(vcpu.get_msrs(&mut msrs).unwrap(), 1);
    let (regs, sregs) = (vcpu.get_regs().unwrap(), vcpu.get_sregs().unwrap());
    let cpu = adapter::registers(&regs, &sregs, msrs.as_slice());
    let file = tempfile::tempfile().unwrap();
    let mut sink = FdSink::new(file.try_clone().unwrap().into()).unwrap();
    let options = DumpOptions::new(GuestInfo::new(Machine::X86_64).cpus([cpu]), Format::Elf);
    dump(&VmMemory::new(&ram).unwrap(), &mut sink, &options).unwrap();

    let vmcore = Vmcore::open(file).unwrap();
    let decoded = Machine::X86_64.decode_notes(vmcore.notes());
    let [CpuState::X86_64(r)] = &decoded[..] else {
        panic!("{decoded:?}");
    };
    let legacy = [r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp];
    let new = [r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15];
    let told = (1..=15).map(|n| n * 0x0101_0101_0101_0101);
    assert!(legacy.into_iter().chain(new).eq(told), "{r:#x?}");
    assert_eq!((r.rip, r.rsp), (CODE + program().len() as u64, STACK));
    assert_eq!(r.rflags, 0x403); // DF, CF, and bit 1, which is always set
    assert_eq!(r.cs, loaded(8, 0));
    assert_eq!([r.ss, r.ds], [loaded(0x10, 0); 2]);
    assert_eq!(r.es, loaded(0x1b, 0));
    assert_eq!(r.fs, loaded(0x1b, 0x7f12_3456_7000));
    assert_eq!(r.gs, loaded(0x1b, 0xffff_8880_1234_5000));
    assert_eq!(r.kernel_gs_base, 0xffff_8881_5432_1000);
    assert_eq!((r.gdt.base, r.gdt.limit), (GDT, 31));
    assert_eq!((r.cr0, r.cr3, r.cr4), (0x8000_0031, 0x1000, 0x20));
    let mut stored = [0; 8];
    vmcore.read(0x8000, &mut stored).unwrap();
    assert_eq!(u64::from_le_bytes(stored), r.rax);
}
