//! The kernel's data: KDBG, lists, CPUs, crash data.
//!
//! Sources: vergiliusproject.com for Windows 10 20H2, x64: `_KPCR`,
//! `_EPROCESS`, `_KLDR_DATA_TABLE_ENTRY`, `_KUSER_SHARED_DATA`; QEMU
//! `include/qemu/win_dump_defs.h` for `PHYSICAL_MEMORY_DESCRIPTOR`; volatility
//! `overlays/windows/win8_kdbg.py` for how KDBG is encoded. The `KPRCB` is
//! this crate's own: KDBG says where its fields are.
#![forbid(unsafe_code)]

use zerocopy::{FromZeros, IntoBytes};

use super::image::{self, vaddr};
use super::tables::{ROOT, Tables};
use crate::arch::x86_64::{DescriptorTable, Registers, Segment};
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::windmp::BugcheckData;
use crate::windmp::discover::format::{KDBG_TAG, KUSER_SHARED_DATA, Kdbg, ListEntry, SharedData};

pub(super) const CPUS: usize = 2;
/// Windows 10 22H2.
const BUILD: u32 = 19045;
/// The mark of a build without checks for developers.
const FREE_BUILD: u32 = 0xf000_0000;

/// `DRIVER_IRQL_NOT_LESS_OR_EQUAL`.
pub(super) const CRASH: BugcheckData = BugcheckData {
    code: 0xd1,
    parameters: [0xffff_d50f_0000_0040, 2, 0, vaddr(image::TEXT + 0x2_3456)],
};

/// 2026-11-21 08:00 UTC, in units of 100 ns since 1601.
const SYSTEM_TIME: u64 = (11_644_473_600 + 1_795_248_000) * 10_000_000;
/// An hour and a half.
const UP_TIME: u64 = 5400 * 10_000_000;

/// Virtual address of the kernel's dynamic memory: processes, modules,
/// names.
const POOL: u64 = 0xffff_d50f_0000_0000;
/// Virtual addresses of the CPUs' `KPCR`s, and how far apart they are.
const KPCRS: u64 = 0xffff_f802_4a2c_0000;
const KPCR_DISTANCE: u64 = 0x1_0000;
const KPCR_PRCB: u64 = 0x180;
/// QEMU `contrib/elf2dmp/main.c`.
const KPCR_KERNEL_CR3: u64 = 0x7000;
const IDT: u64 = 0x8000;
const GDT: u64 = 0x9000;
const SIZE_PRCB: u16 = 0x1800;
/// Offsets in a `KPRCB`.
const PRCB_NUMBER: u16 = 0x24;
pub(super) const PRCB_CONTEXT: u64 = 0x1710;
const PRCB_CONTEXT_FRAME: u64 = 0xc00;

/// Size of KDBG in Windows 10: 0x380, of which the last 0x40 are not named.
const KDBG_SIZE: u32 = 0x380;
const KI_WAIT_NEVER: u64 = 0x0065_71a5_c4f0_39db;
const KI_WAIT_ALWAYS: u64 = 0x00c1_5f2e_7d20_86b4;

/// Virtual address of a CPU's `KPCR`.
const fn kpcr(cpu: usize) -> u64 {
    KPCRS + cpu as u64 * KPCR_DISTANCE
}

pub(super) const fn prcb(cpu: usize) -> u64 {
    kpcr(cpu) + KPCR_PRCB
}

pub(super) const fn context(cpu: usize) -> u64 {
    prcb(cpu) + PRCB_CONTEXT_FRAME
}

/// The kernel's memory, in a guest with this RAM.
pub(super) fn build(ranges: &[MemoryRange], crash: Option<BugcheckData>, encoded: bool) -> Tables {
    let mut tables = Tables::new();
    image::build(&mut tables);
    put_kdbg(&mut tables, encoded);
    for cpu in 0..CPUS {
        put_cpu(&mut tables, cpu);
    }
    let prcbs: [u64; CPUS] = std::array::from_fn(prcb);
    tables.put_words(vaddr(image::KI_PROCESSOR_BLOCK), &prcbs);
    if let Some(crash) = crash {
        let [a, b, c, d] = crash.parameters;
        let data = [crash.code.into(), a, b, c, d];
        tables.put_words(vaddr(image::KI_BUGCHECK_DATA), &data);
    }
    let build = FREE_BUILD | BUILD;
    tables.put(vaddr(image::NT_BUILD_NUMBER), &build.to_le_bytes());
    put_processes(&mut tables);
    put_modules(&mut tables);
    put_memory(&mut tables, ranges);
    put_shared(&mut tables);
    tables
}

/// KDBG, not encoded.
pub(super) fn kdbg() -> Vec<u8> {
    let head = vaddr(image::KDP_DEBUGGER_DATA_LIST_HEAD);
    let mut block = Kdbg::new_zeroed();
    block.list = list(head, head);
    block.owner_tag = KDBG_TAG;
    block.size = KDBG_SIZE.into();
    block.kern_base = image::BASE.into();
    block.ps_loaded_module_list = vaddr(image::PS_LOADED_MODULE_LIST).into();
    block.ps_active_process_head = vaddr(image::PS_ACTIVE_PROCESS_HEAD).into();
    block.ki_bugcheck_data = vaddr(image::KI_BUGCHECK_DATA).into();
    block.mm_pfn_database = vaddr(image::MM_PFN_DATABASE).into();
    block.ki_processor_block = vaddr(image::KI_PROCESSOR_BLOCK).into();
    block.mm_physical_memory_block = vaddr(image::MM_PHYSICAL_MEMORY_BLOCK).into();
    block.offset_eprocess_directory_table_base = (EPROCESS_DIRECTORY_TABLE_BASE as u16).into();
    block.size_prcb = SIZE_PRCB.into();
    block.offset_prcb_number = PRCB_NUMBER.into();
    block.offset_prcb_context = (PRCB_CONTEXT as u16).into();
    let mut bytes = block.as_bytes().to_vec();
    bytes.resize(KDBG_SIZE as usize, 0);
    bytes
}

fn put_kdbg(tables: &mut Tables, encoded: bool) {
    let block = vaddr(image::KDBG);
    let head = vaddr(image::KDP_DEBUGGER_DATA_LIST_HEAD);
    tables.put(head, list(block, block).as_bytes());
    tables.put_words(vaddr(image::KI_WAIT_NEVER), &[KI_WAIT_NEVER]);
    tables.put_words(vaddr(image::KI_WAIT_ALWAYS), &[KI_WAIT_ALWAYS]);
    let flag = vaddr(image::KDP_DATA_BLOCK_ENCODED);
    tables.put(flag, &[encoded.into()]);
    let mut bytes = kdbg();
    if encoded {
        let (words, _) = bytes.as_chunks_mut::<8>();
        for bytes in words {
            let word = u64::from_le_bytes(*bytes) ^ KI_WAIT_ALWAYS;
            let word = (word.swap_bytes() ^ flag).rotate_right(KI_WAIT_NEVER as u32 & 0x3f);
            *bytes = (word ^ KI_WAIT_NEVER).to_le_bytes();
        }
    }
    tables.put(block, &bytes);
}

fn list(flink: u64, blink: u64) -> ListEntry {
    ListEntry {
        flink: flink.into(),
        blink: blink.into(),
    }
}

/// Links the entries at `nodes` and the list's head in a ring.
fn put_ring(tables: &mut Tables, head: u64, nodes: &[u64]) {
    let mut ring = vec![head];
    ring.extend(nodes);
    for (i, node) in ring.iter().enumerate() {
        let next = ring[(i + 1) % ring.len()];
        let last = ring[(i + ring.len() - 1) % ring.len()];
        tables.put(*node, list(next, last).as_bytes());
    }
}

/// `KPCR`, `KPRCB` and IDT.
fn put_cpu(tables: &mut Tables, cpu: usize) {
    let pcr = kpcr(cpu);
    let idt = pcr + IDT;
    // GdtBase, TssBase, UserRsp, Self, CurrentPrcb, LockArray, Used_Self,
    // IdtBase.
    let words = [pcr + GDT, pcr + GDT + 0x80, 0, pcr, prcb(cpu), 0, 0, idt];
    tables.put_words(pcr, &words);
    // With page table isolation, CR3 of the kernel.
    tables.put_words(pcr + KPCR_KERNEL_CR3, &[ROOT]);
    // MajorVersion.
    tables.put(pcr + 0x60, &1u16.to_le_bytes());
    let number = prcb(cpu) + u64::from(PRCB_NUMBER);
    tables.put(number, &(cpu as u32).to_le_bytes());
    // All of the structure is there.
    tables.put(prcb(cpu) + u64::from(SIZE_PRCB) - 1, &[0]);
    tables.put_words(prcb(cpu) + PRCB_CONTEXT, &[context(cpu)]);
    for n in 0..256 {
        const GATE: u64 = 0x8e00;
        let handler = vaddr(image::TEXT + 0x4_0000 + n * 0x40);
        let low = handler & 0xffff | 0x10 << 16 | GATE << 32 | (handler >> 16 & 0xffff) << 48;
        tables.put_words(idt + n * 16, &[low, handler >> 32]);
    }
}

const EPROCESS_DIRECTORY_TABLE_BASE: u64 = 0x28;
const EPROCESS_UNIQUE_PROCESS_ID: u64 = 0x440;
const EPROCESS_ACTIVE_PROCESS_LINKS: u64 = 0x448;
const EPROCESS_IMAGE_FILE_NAME: u64 = 0x5a8;

/// Three processes, which share the system's page tables.
fn put_processes(tables: &mut Tables) {
    let processes = [(4, "System"), (92, "Registry"), (340, "smss.exe")];
    let addresses = [0u64, 1, 2].map(|n| POOL + 0x8_0080 + n * 0x1000);
    for (process, (id, name)) in addresses.into_iter().zip(processes) {
        tables.put_words(process + EPROCESS_DIRECTORY_TABLE_BASE, &[ROOT]);
        tables.put_words(process + EPROCESS_UNIQUE_PROCESS_ID, &[id]);
        tables.put(process + EPROCESS_IMAGE_FILE_NAME, name.as_bytes());
    }
    let links = addresses.map(|process| process + EPROCESS_ACTIVE_PROCESS_LINKS);
    put_ring(tables, vaddr(image::PS_ACTIVE_PROCESS_HEAD), &links);
    let first = vaddr(image::PS_INITIAL_SYSTEM_PROCESS);
    tables.put_words(first, &addresses[..1]);
}

/// Two modules.
fn put_modules(tables: &mut Tables) {
    const DLL_BASE: u64 = 0x30;
    const FULL_DLL_NAME: u64 = 0x48;
    const BASE_DLL_NAME: u64 = 0x58;
    const FOLDER: &str = "\\SystemRoot\\system32\\";
    let modules = [
        ("ntoskrnl.exe", image::BASE, image::SIZE),
        ("hal.dll", 0xffff_f802_4f50_0000, 0x6000),
    ];
    let entries = [0u64, 1].map(|n| POOL + 0x1_0000 + n * 0x1000);
    for (entry, (name, base, size)) in entries.into_iter().zip(modules) {
        let text = entry + 0x100;
        let utf16: Vec<u8> = format!("{FOLDER}{name}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        tables.put(text, &utf16);
        let string = |skip: usize| {
            let len = (utf16.len() - skip) as u64;
            [len | len << 16, text + skip as u64]
        };
        tables.put_words(entry + DLL_BASE, &[base, base + 0x1000, size]);
        tables.put_words(entry + FULL_DLL_NAME, &string(0));
        tables.put_words(entry + BASE_DLL_NAME, &string(FOLDER.len() * 2));
    }
    put_ring(tables, vaddr(image::PS_LOADED_MODULE_LIST), &entries);
}

/// The list of physical memory: Windows leaves out the first page.
fn put_memory(tables: &mut Tables, ranges: &[MemoryRange]) {
    let block = POOL + 0x2_0000;
    let runs: Vec<[u64; 2]> = ranges
        .iter()
        .map(|range| {
            let first = (range.start() / MIN_PAGE_SIZE).max(1);
            [first, range.end() / MIN_PAGE_SIZE - first]
        })
        .collect();
    let pages = runs.iter().map(|[_, count]| count).sum();
    tables.put_words(block, &[runs.len() as u64, pages]);
    tables.put_words(block + 16, runs.as_flattened());
    tables.put_words(vaddr(image::MM_PHYSICAL_MEMORY_BLOCK), &[block]);
    tables.put_words(vaddr(image::MM_PFN_DATABASE), &[0xffff_fa80_0000_0000]);
}

fn put_shared(tables: &mut Tables) {
    let mut shared = SharedData::new_zeroed();
    shared.interrupt_time = UP_TIME.into();
    shared.system_time = SYSTEM_TIME.into();
    shared.nt_build_number = BUILD.into();
    // A workstation, with one user at a time.
    shared.nt_product_type = 1.into();
    shared.product_type_is_valid = 1;
    shared.nt_major_version = 10.into();
    shared.suite_mask = 0x110.into();
    tables.put(KUSER_SHARED_DATA, shared.as_bytes());
}

pub(super) fn registers(cpu: usize) -> Registers {
    let segment = |selector, flags, base| Segment {
        selector,
        limit: u32::MAX,
        flags,
        base,
    };
    let data = segment(0x2b, 0x00cf_f300, 0);
    let rsp = POOL + 0x3_0e00 + ((cpu as u64) << 16);
    Registers {
        rax: cpu as u64,
        rcx: 0xd1,
        rsp,
        rbp: rsp + 0x80,
        rip: vaddr(image::TEXT + 0x1_0040 + cpu as u64 * 0x20),
        rflags: 0x46,
        cs: segment(0x10, 0x0020_9b00, 0),
        ss: segment(0x18, 0x0040_9300, 0),
        ds: data,
        es: data,
        fs: segment(0x53, 0x0040_f300, 0),
        gs: Segment {
            base: kpcr(cpu),
            ..data
        },
        tr: segment(0x40, 0x8b00, kpcr(cpu) + GDT + 0x80),
        gdt: DescriptorTable {
            base: kpcr(cpu) + GDT,
            limit: 0x57,
        },
        idt: DescriptorTable {
            base: kpcr(cpu) + IDT,
            limit: 256 * 16 - 1,
        },
        // PG, AM, WP, NE, MP, PE.
        cr0: 0x8005_0031,
        cr3: ROOT,
        // FSGSBASE, PGE, MCE, PAE, DE, VME and others; no LA57.
        cr4: 0x0035_0ef8,
        kernel_gs_base: 0,
        ..Registers::default()
    }
}
