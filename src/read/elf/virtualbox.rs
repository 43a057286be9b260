//! The CPUs' registers in a core of VirtualBox.
#![forbid(unsafe_code)]

use zerocopy::FromBytes;

use crate::arch::i386::EM_386;
use crate::arch::x86_64::EM_X86_64;
use crate::arch::x86_64::{DescriptorTable, Registers, Segment, SegmentAttributes};
use crate::arch::{CpuState, Machine, i386};
use crate::elf::ProgramHeader;
use crate::elf::note::{Note, Notes};
use crate::guest::windows::{DebugRegisters, ExtraState};
use crate::virtualbox::{
    CoreCpu, CoreDescriptor, CoreSelector, CoreTable, KNOWN_FORMATS, MAGIC, NT_VBOXCORE,
    NT_VBOXCPU, VBCORE, VBCPU,
};

/// The bit in `IA32_EFER` of a CPU in long mode (Intel SDM volume 4).
const EFER_LMA: u64 = 1 << 10;
/// Protection enable and paging, in CR0.
const CR0_PE_PG: u64 = 1 | 1 << 31;

/// The registers in a core of VirtualBox.
#[derive(Debug)]
pub(super) struct VirtualBoxCpus {
    /// The guest's machine, if the registers tell it.
    pub(super) machine: Option<Machine>,
    pub(super) registers: Vec<CpuState>,
    pub(super) extra: Vec<ExtraState>,
}

/// Reads the registers. `host` is `e_machine`, which names the host's machine. `None` if `notes` are not VirtualBox's, or are those of a conversion, which has
/// `NT_PRSTATUS` as well.
///
/// # Errors
///
/// The reason why the registers are not known.
pub(super) fn read_cpus(host: u16, notes: Notes<'_>) -> Option<Result<VirtualBoxCpus, String>> {
    let find = |name, kind| {
        notes
            .clone()
            .flatten()
            .filter(move |(_, n)| n.is(name, kind))
    };
    let (_, descriptor) = find(VBCORE, NT_VBOXCORE).next()?;
    (notes.clone().cpus() == 0).then_some(())?;
    let cpus: Vec<Note<'_>> = find(VBCPU, NT_VBOXCPU).map(|(_, note)| note).collect();
    Some(decode(host, descriptor, &cpus))
}

/// Returns the program headers without those of devices' memory, which have no bytes in the file. Source:
/// VirtualBox `DBGFCoreWrite.cpp`, where only ranges of MMIO have no bytes.
pub(super) fn without_devices(headers: &[ProgramHeader]) -> Vec<ProgramHeader> {
    let all = headers.iter();
    all.filter(|header| header.filesz > 0).cloned().collect()
}

fn decode(host: u16, descriptor: Note<'_>, cpus: &[Note<'_>]) -> Result<VirtualBoxCpus, String> {
    let descriptor = CoreDescriptor::read_from_prefix(descriptor.desc).map(|(d, _)| d);
    let descriptor = descriptor
        .ok()
        .filter(|d| d.magic == MAGIC)
        .ok_or("registers of an unknown VirtualBox version: its VBCORE note has no descriptor")?;
    let format = descriptor.format.get();
    if !KNOWN_FORMATS.contains(&format) {
        return Err(format!(
            "registers of an unknown VirtualBox version: core format {format:#x}; {:#x} to {:#x} are known",
            KNOWN_FORMATS.start(),
            KNOWN_FORMATS.end()
        ));
    }
    let states: Option<Vec<CoreCpu>> = cpus
        .iter()
        .map(|note| Some(CoreCpu::read_from_prefix(note.desc).ok()?.0))
        .collect();
    let states = states.ok_or_else(|| {
        format!(
            "registers of an unknown VirtualBox version: a VBCPU note has less than {} bytes",
            size_of::<CoreCpu>()
        )
    })?;
    let count = descriptor.cpus.get();
    if states.len() as u64 != u64::from(count) {
        return Err(format!(
            "registers whose number is not certain: the VBCORE note says {count} CPUs, and there are {} VBCPU notes",
            states.len()
        ));
    }
    let machine = machine_of(&states);
    // VirtualBox of an Arm host runs Arm guests, and writes the same notes.
    if machine.is_none() && ![EM_386, EM_X86_64].contains(&host) {
        return Err(format!(
            "registers of another architecture: e_machine is {host}, and no CPU has paging as x86 has it"
        ));
    }
    let registers = states.iter().map(registers);
    Ok(VirtualBoxCpus {
        machine,
        registers: match machine {
            Some(Machine::I386) => registers
                .map(|r| i386::Registers::from(&r).into())
                .collect(),
            _ => registers.map(CpuState::from).collect(),
        },
        extra: states.iter().map(extra).collect(),
    })
}

/// Returns the machine of CPUs in these states: of 64 bits if one is in long mode, as QEMU decides too,
/// of 32 bits if one has paging. `e_machine` names the host's machine.
fn machine_of(states: &[CoreCpu]) -> Option<Machine> {
    let in_long_mode = |cpu: &CoreCpu| cpu.efer.get() & EFER_LMA != 0;
    let has_paging = |cpu: &CoreCpu| cpu.cr0.get() & CR0_PE_PG == CR0_PE_PG;
    if states.iter().any(in_long_mode) {
        return Some(Machine::X86_64);
    }
    states.iter().any(has_paging).then_some(Machine::I386)
}

fn registers(cpu: &CoreCpu) -> Registers {
    let segment = |s: CoreSelector| Segment {
        selector: s.selector.get().into(),
        limit: s.limit.get(),
        flags: SegmentAttributes::from_access_rights(s.attributes.get()).flags(),
        base: s.base.get(),
    };
    let table = |table: CoreTable| DescriptorTable {
        base: table.address.get(),
        limit: table.limit.get(),
    };
    let [r8, r9, r10, r11, r12, r13, r14, r15] = cpu.r8_to_r15.map(u64::from);
    Registers {
        rax: cpu.rax.get(),
        rbx: cpu.rbx.get(),
        rcx: cpu.rcx.get(),
        rdx: cpu.rdx.get(),
        rsi: cpu.rsi.get(),
        rdi: cpu.rdi.get(),
        rsp: cpu.rsp.get(),
        rbp: cpu.rbp.get(),
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: cpu.rip.get(),
        rflags: cpu.rflags.get(),
        cs: segment(cpu.cs),
        ds: segment(cpu.ds),
        es: segment(cpu.es),
        fs: segment(cpu.fs),
        gs: segment(cpu.gs),
        ss: segment(cpu.ss),
        ldt: segment(cpu.ldtr),
        tr: segment(cpu.tr),
        gdt: table(cpu.gdtr),
        idt: table(cpu.idtr),
        cr0: cpu.cr0.get(),
        cr1: 0,
        cr2: cpu.cr2.get(),
        cr3: cpu.cr3.get(),
        cr4: cpu.cr4.get(),
        kernel_gs_base: cpu.kernel_gs_base.get(),
    }
}

/// Returns the registers that only a Windows dump's context has.
fn extra(cpu: &CoreCpu) -> ExtraState {
    let [dr0, dr1, dr2, dr3, _, _, dr6, dr7] = cpu.dr.map(u64::from);
    ExtraState {
        debug: Some(DebugRegisters {
            dr0,
            dr1,
            dr2,
            dr3,
            dr6,
            dr7,
        }),
        sse: None,
    }
}
