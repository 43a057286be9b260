//! The kernel's data: KDBG, lists, CPUs, crash data.
//!
//! Sources: those of `kind`; vergiliusproject.com for `_KUSER_SHARED_DATA`; QEMU
//! `include/qemu/win_dump_defs.h` for `PHYSICAL_MEMORY_DESCRIPTOR`; volatility
//! `overlays/windows/win8_kdbg.py` for how KDBG is encoded. The layout of the `KPRCB` is this
//! crate's own: KDBG contains the offsets of its fields.
#![forbid(unsafe_code)]

use zerocopy::{FromZeros, IntoBytes};

use crate::demo::windows::image;
use crate::demo::windows::kind::WindowsKind;
use crate::demo::windows::tables;
use crate::demo::windows::tables::Tables;
use crate::guest::windows::BugcheckData;
use crate::guest::windows::discover::format::{KDBG_TAG, Kdbg, ListEntry, ListEntry32, SharedData};
use crate::guest::windows::discover::width::Width;
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};

pub(super) const CPUS: usize = 2;
/// The mark of a free build: one without checks for developers.
const FREE_BUILD: u32 = 0xf000_0000;

/// Returns the crash data of `DRIVER_IRQL_NOT_LESS_OR_EQUAL`.
pub(super) const fn crash(kind: WindowsKind) -> BugcheckData {
    BugcheckData {
        code: 0xd1,
        parameters: [kind.pool() + 0x40, 2, 0, kind.vaddr(image::TEXT + 0x2_3456)],
    }
}

/// The guest's time: 2026-11-21 08:00 UTC, in units of 100 ns since 1601.
const SYSTEM_TIME: u64 = (11_644_473_600 + 1_795_248_000) * 10_000_000;
/// The guest's up time: an hour and a half, in units of 100 ns.
const UP_TIME: u64 = 5400 * 10_000_000;

/// Distance of the CPUs' `KPCR`s in bytes.
const KPCR_DISTANCE: u64 = 0x1_0000;
/// Offset of the kernel's CR3 in a 64-bit `KPCR`. Source: QEMU `contrib/elf2dmp/main.c`.
const KPCR_KERNEL_CR3: u64 = 0x7000;
pub(super) const IDT: u64 = 0x8000;
pub(super) const GDT: u64 = 0x9000;
const SIZE_PRCB: u16 = 0x1800;
/// Offset of the CPU's number in a `KPRCB`.
const PRCB_NUMBER: u16 = 0x24;
pub(super) const PRCB_CONTEXT: u64 = 0x1710;

const KI_WAIT_NEVER: u64 = 0x0065_71a5_c4f0_39db;
const KI_WAIT_ALWAYS: u64 = 0x00c1_5f2e_7d20_86b4;

/// Returns the virtual address of a CPU's `KPCR`.
pub(super) const fn kpcr(kind: WindowsKind, cpu: usize) -> u64 {
    kind.kpcrs() + cpu as u64 * KPCR_DISTANCE
}

pub(super) const fn prcb(kind: WindowsKind, cpu: usize) -> u64 {
    kpcr(kind, cpu) + kind.offsets().kpcr_prcb
}

pub(super) const fn context(kind: WindowsKind, cpu: usize) -> u64 {
    prcb(kind, cpu) + kind.offsets().context_frame
}

/// Builds the kernel's memory in a guest with this RAM.
pub(super) fn build(
    kind: WindowsKind,
    ranges: &[MemoryRange],
    crash: Option<BugcheckData>,
    encoded: bool,
) -> Tables {
    let mut tables = Tables::new(kind);
    image::build(&mut tables);
    put_kdbg(&mut tables, encoded);
    for cpu in 0..CPUS {
        put_cpu(&mut tables, cpu);
    }
    let prcbs: [u64; CPUS] = std::array::from_fn(|cpu| prcb(kind, cpu));
    tables.put_words(kind.vaddr(image::KI_PROCESSOR_BLOCK), &prcbs);
    if let Some(crash) = crash {
        let [a, b, c, d] = crash.parameters;
        let data = [crash.code.into(), a, b, c, d];
        tables.put_words(kind.vaddr(image::KI_BUGCHECK_DATA), &data);
    }
    let build = FREE_BUILD | kind.version().build;
    tables.put(kind.vaddr(image::NT_BUILD_NUMBER), &build.to_le_bytes());
    put_processes(&mut tables);
    put_modules(&mut tables);
    put_memory(&mut tables, ranges);
    put_shared(&mut tables);
    tables
}

/// Builds KDBG without encoding.
pub(super) fn kdbg(kind: WindowsKind) -> Vec<u8> {
    let head = kind.vaddr(image::KDP_DEBUGGER_DATA_LIST_HEAD);
    // The KDBG of a 32-bit kernel contains addresses that are extended by the sign.
    let vaddr = |offset| match kind.width() {
        Width::Bits32 => (kind.vaddr(offset) as i32 as u64).into(),
        Width::Bits64 => kind.vaddr(offset).into(),
    };
    let mut block = Kdbg::new_zeroed();
    let links = list(kind, head, head);
    block.list.as_mut_bytes()[..links.len()].copy_from_slice(&links);
    block.owner_tag = KDBG_TAG;
    block.size = kind.kdbg_size().into();
    block.kern_base = vaddr(0);
    block.ps_loaded_module_list = vaddr(image::PS_LOADED_MODULE_LIST);
    block.ps_active_process_head = vaddr(image::PS_ACTIVE_PROCESS_HEAD);
    block.ki_bugcheck_data = vaddr(image::KI_BUGCHECK_DATA);
    block.mm_pfn_database = vaddr(image::MM_PFN_DATABASE);
    block.ki_processor_block = vaddr(image::KI_PROCESSOR_BLOCK);
    block.mm_physical_memory_block = vaddr(image::MM_PHYSICAL_MEMORY_BLOCK);
    let offsets = kind.offsets();
    block.offset_eprocess_directory_table_base =
        (offsets.process_directory_table_base as u16).into();
    block.size_prcb = SIZE_PRCB.into();
    block.offset_prcb_proc_state_context = (offsets.context_frame as u16).into();
    block.offset_prcb_number = PRCB_NUMBER.into();
    block.offset_prcb_context = (PRCB_CONTEXT as u16).into();
    let mut bytes = block.as_bytes().to_vec();
    bytes.resize(kind.kdbg_size() as usize, 0);
    bytes
}

fn put_kdbg(tables: &mut Tables, encoded: bool) {
    let kind = tables.kind();
    let block = kind.vaddr(image::KDBG);
    let head = kind.vaddr(image::KDP_DEBUGGER_DATA_LIST_HEAD);
    tables.put(head, &list(kind, block, block));
    let mut bytes = kdbg(kind);
    if kind.width() == Width::Bits64 {
        tables.put_words(kind.vaddr(image::KI_WAIT_NEVER), &[KI_WAIT_NEVER]);
        tables.put_words(kind.vaddr(image::KI_WAIT_ALWAYS), &[KI_WAIT_ALWAYS]);
        let flag = kind.vaddr(image::KDP_DATA_BLOCK_ENCODED);
        tables.put(flag, &[encoded.into()]);
        if encoded {
            encode(&mut bytes, flag);
        }
    }
    tables.put(block, &bytes);
}

fn encode(block: &mut [u8], flag: u64) {
    let (words, _) = block.as_chunks_mut::<8>();
    for bytes in words {
        let word = u64::from_le_bytes(*bytes) ^ KI_WAIT_ALWAYS;
        let word = (word.swap_bytes() ^ flag).rotate_right(KI_WAIT_NEVER as u32 & 0x3f);
        *bytes = (word ^ KI_WAIT_NEVER).to_le_bytes();
    }
}

/// Returns the bytes of a `LIST_ENTRY`.
fn list(kind: WindowsKind, flink: u64, blink: u64) -> Vec<u8> {
    match kind.width() {
        Width::Bits32 => ListEntry32 {
            flink: (flink as u32).into(),
            blink: (blink as u32).into(),
        }
        .as_bytes()
        .to_vec(),
        Width::Bits64 => ListEntry {
            flink: flink.into(),
            blink: blink.into(),
        }
        .as_bytes()
        .to_vec(),
    }
}

/// Links the list's head and the entries at `nodes` to a ring.
fn put_ring(tables: &mut Tables, head: u64, nodes: &[u64]) {
    let mut ring = vec![head];
    ring.extend(nodes);
    for (i, node) in ring.iter().enumerate() {
        let next = ring[(i + 1) % ring.len()];
        let last = ring[(i + ring.len() - 1) % ring.len()];
        tables.put(*node, &list(tables.kind(), next, last));
    }
}

/// Writes `KPCR`, `KPRCB` and IDT of a CPU.
fn put_cpu(tables: &mut Tables, cpu: usize) {
    let kind = tables.kind();
    let offsets = kind.offsets();
    let (pcr, prcb) = (kpcr(kind, cpu), prcb(kind, cpu));
    tables.put_words(pcr + offsets.kpcr_self, &[pcr]);
    tables.put_words(pcr + offsets.kpcr_current_prcb, &[prcb]);
    tables.put_words(pcr + offsets.kpcr_idt, &[pcr + IDT]);
    tables.put_words(pcr + offsets.kpcr_gdt, &[pcr + GDT]);
    tables.put(pcr + offsets.kpcr_major_version, &1u16.to_le_bytes());
    if kind.width() == Width::Bits64 {
        // With page table isolation, this field contains the kernel's CR3.
        tables.put_words(pcr + KPCR_KERNEL_CR3, &[tables::root(kind)]);
    }
    let number = prcb + u64::from(PRCB_NUMBER);
    tables.put(number, &(cpu as u32).to_le_bytes());
    // This maps the whole structure.
    tables.put(prcb + u64::from(SIZE_PRCB) - 1, &[0]);
    tables.put_words(prcb + PRCB_CONTEXT, &[context(kind, cpu)]);
    for n in 0..256 {
        put_gate(tables, pcr + IDT, n);
    }
}

/// Writes entry `n` of the IDT at `idt`.
fn put_gate(tables: &mut Tables, idt: u64, n: u64) {
    const INTERRUPT_GATE: u64 = 0x8e00;
    let kind = tables.kind();
    let handler = kind.vaddr(image::TEXT + 0x4_0000 + n * 0x40);
    let gate = |selector: u64| {
        handler & 0xffff | selector << 16 | INTERRUPT_GATE << 32 | (handler >> 16 & 0xffff) << 48
    };
    match kind.width() {
        Width::Bits32 => tables.put(idt + n * 8, &gate(0x8).to_le_bytes()),
        Width::Bits64 => tables.put_words(idt + n * 16, &[gate(0x10), handler >> 32]),
    }
}

/// Writes three processes, which share the system's page tables.
fn put_processes(tables: &mut Tables) {
    let kind = tables.kind();
    let offsets = kind.offsets();
    let processes = [(4, "System"), (92, "Registry"), (340, "smss.exe")];
    let addresses = [0u64, 1, 2].map(|n| kind.pool() + 0x8_0080 + n * 0x1000);
    for (process, (id, name)) in addresses.into_iter().zip(processes) {
        let root = tables::root(kind);
        tables.put_words(process + offsets.process_directory_table_base, &[root]);
        tables.put_words(process + offsets.process_id, &[id]);
        tables.put(process + offsets.process_name, name.as_bytes());
    }
    let links = addresses.map(|process| process + offsets.process_links);
    put_ring(tables, kind.vaddr(image::PS_ACTIVE_PROCESS_HEAD), &links);
    let first = kind.vaddr(image::PS_INITIAL_SYSTEM_PROCESS);
    tables.put_words(first, &addresses[..1]);
}

/// Writes two modules.
fn put_modules(tables: &mut Tables) {
    const FOLDER: &str = "\\SystemRoot\\system32\\";
    let kind = tables.kind();
    let offsets = kind.offsets();
    let modules = [
        ("ntoskrnl.exe", kind.base(), image::SIZE),
        ("hal.dll", kind.hal(), 0x6000),
    ];
    let entries = [0u64, 1].map(|n| kind.pool() + 0x1_0000 + n * 0x1000);
    for (entry, (name, base, size)) in entries.into_iter().zip(modules) {
        let text = entry + 0x100;
        let utf16: Vec<u8> = format!("{FOLDER}{name}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        tables.put(text, &utf16);
        let mut put_string = |at: u64, skip: usize| {
            let len = (utf16.len() - skip) as u64;
            tables.put_words(at, &[len | len << 16, text + skip as u64]);
        };
        put_string(entry + offsets.module_full_name, 0);
        put_string(entry + offsets.module_base_name, FOLDER.len() * 2);
        tables.put_words(entry + offsets.module_base, &[base, base + 0x1000, size]);
    }
    put_ring(tables, kind.vaddr(image::PS_LOADED_MODULE_LIST), &entries);
}

/// Writes the list of physical memory. Windows omits the first page.
fn put_memory(tables: &mut Tables, ranges: &[MemoryRange]) {
    let kind = tables.kind();
    let block = kind.pool() + 0x2_0000;
    let runs: Vec<[u64; 2]> = ranges
        .iter()
        .map(|range| {
            let first = (range.start() / MIN_PAGE_SIZE).max(1);
            [first, range.end() / MIN_PAGE_SIZE - first]
        })
        .collect();
    let pages = runs.iter().map(|[_, count]| count).sum();
    tables.put_words(block, &[runs.len() as u64, pages]);
    let behind = block + 2 * kind.width().word() as u64;
    tables.put_words(behind, runs.as_flattened());
    tables.put_words(kind.vaddr(image::MM_PHYSICAL_MEMORY_BLOCK), &[block]);
    tables.put_words(kind.vaddr(image::MM_PFN_DATABASE), &[kind.pfn_database()]);
}

fn put_shared(tables: &mut Tables) {
    let kind = tables.kind();
    let version = kind.version();
    let mut shared = SharedData::new_zeroed();
    shared.interrupt_time = UP_TIME.into();
    shared.system_time = SYSTEM_TIME.into();
    if version.major >= 10 {
        shared.nt_build_number = version.build.into();
    }
    // The guest is a workstation with one user at a time.
    shared.nt_product_type = 1.into();
    shared.product_type_is_valid = 1;
    shared.nt_major_version = version.major.into();
    shared.nt_minor_version = version.minor.into();
    shared.suite_mask = 0x110.into();
    tables.put(kind.width().shared_data(), shared.as_bytes());
}
