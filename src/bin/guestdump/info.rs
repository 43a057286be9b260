//! `guestdump info`: what a dump file says about itself.

use std::path::PathBuf;

use guestdump::abi::Utsname;
use guestdump::abi::number::Number;
use guestdump::codec::Codec;
use guestdump::elf::note::{CORE, NT_PRSTATUS, Note};
use guestdump::elf::{PT_LOAD, ProgramHeader};
use guestdump::kdump::{DUMP_DH_COMPRESSED_INCOMPLETE, DUMP_DH_EXCLUDED_VMEMMAP, flag_codec};
use guestdump::read::{Headers, Vmcore};
use guestdump::vmcoreinfo::Vmcoreinfo;
use guestdump::windmp::{DUMP_TYPE_BITMAP_FULL, DUMP_TYPE_FULL};
use guestdump::{CpuState, Format, GuestMemory, Machine, Progress};

use crate::args::FileArgs;
use crate::info_entry::{
    Cpu, HeaderEntry, Info, NoteEntry, RangeEntry, UtsnameEntry, VmcoreinfoEntry,
};
use crate::info_text;
use crate::lacks;
use crate::paths::shown;
use crate::report::{Failure, Result, print, print_json};
use crate::vmcore_file::{self, SpoolArgs};

pub(crate) fn run(args: &FileArgs) -> Result<()> {
    let info = collect(&args.files, &args.spool)?;
    if args.json {
        print_json(&info)
    } else {
        print(&info_text::render(&info))
    }
}

fn collect(paths: &[PathBuf], spool: &SpoolArgs) -> Result<Info> {
    let failed = |e: &dyn std::error::Error| Failure::because(shown(paths), e);
    let vmcore = vmcore_file::open_parts(paths, spool, &Progress::new())?;
    let vmcore = vmcore.map_err(|e| failed(&e))?;
    let mut file_size = 0;
    for path in paths {
        file_size += path.metadata().map_err(|e| failed(&e))?.len();
    }
    let codec = codec(&vmcore.headers());
    let flattened = vmcore.is_flattened();
    let ranges = vmcore.ranges();
    let coverage = vmcore.coverage();
    Ok(Info {
        file: shown(paths),
        format: format_name(&vmcore.headers(), codec, flattened),
        codec: codec.map(Codec::feature),
        flattened,
        complete: coverage.is_complete(),
        lacks: lacks::entries(&coverage),
        dump_level: coverage.dump_level,
        vmemmap_excluded: coverage.vmemmap_excluded,
        absent_bytes: coverage.absent_bytes(),
        machine: vmcore.machine().map(Machine::name),
        page_size: vmcore.page_size(),
        file_size,
        raw_size: vmcore.raw_len(),
        pages: vmcore.pages(),
        bytes_total: ranges.iter().map(|range| range.size()).sum(),
        header: header(&vmcore.headers()),
        utsname: vmcore.utsname().as_ref().map(utsname),
        vmcoreinfo: vmcore.vmcoreinfo().as_ref().map(vmcoreinfo),
        cpus: cpus(&vmcore),
        unknown_registers: vmcore.unknown_registers().map(str::to_owned),
        notes: notes(&vmcore),
        ranges: ranges
            .iter()
            .map(|range| RangeEntry {
                gpa: range.start(),
                size: range.size(),
            })
            .collect(),
    })
}

/// How pages are compressed, by the header; `None` for ELF, and for kdump
/// files that are not compressed.
fn codec(headers: &Headers<'_>) -> Option<Codec> {
    let Headers::Kdump { main, .. } = headers else {
        return None;
    };
    let other = DUMP_DH_COMPRESSED_INCOMPLETE | DUMP_DH_EXCLUDED_VMEMMAP;
    flag_codec(main.status & !other).ok().flatten()
}

/// The name in [`Format`], or for a kdump file that is not compressed, which
/// has no name there, one of the same kind.
fn format_name(headers: &Headers<'_>, codec: Option<Codec>, flattened: bool) -> String {
    let kdump = matches!(headers, Headers::Kdump { .. });
    if let Headers::Xen { .. } = headers {
        return "xen-core".to_owned();
    }
    if let Headers::WinDmp { header, .. } = headers {
        let dump_type = header.dump_type();
        let format = match (dump_type, header.dump_type_name()) {
            (DUMP_TYPE_FULL, _) => Format::WIN_DMP,
            (DUMP_TYPE_BITMAP_FULL, _) => Format::WIN_DMP_BITMAP,
            // Types that this crate reads and does not write.
            (_, Some(name)) => return format!("win-dmp {name} (type {dump_type})"),
            (_, None) => return format!("win-dmp (type {dump_type})"),
        };
        return format.name().to_owned();
    }
    let known = Format::ALL.iter().find(|format| {
        format.codec() == codec && codec.is_none_or(|_| format.needs_positions() != flattened)
    });
    match known {
        Some(format) if kdump == codec.is_some() => format.name().to_owned(),
        _ if flattened => "kdump".to_owned(),
        _ => "kdump-raw".to_owned(),
    }
}

fn header(headers: &Headers<'_>) -> HeaderEntry {
    match *headers {
        Headers::Elf {
            header,
            program_headers,
        } => {
            let is_load = |header: &&ProgramHeader| header.kind == PT_LOAD;
            HeaderEntry::Elf {
                elf_type: header.e_type,
                elf_machine: header.machine,
                program_headers: program_headers.len(),
                loads: program_headers.iter().filter(is_load).count(),
            }
        }
        Headers::Kdump { main, sub, .. } => HeaderEntry::Kdump {
            version: main.header_version,
            status: main.status,
            dump_level: sub.dump_level,
            split: sub.split != 0,
            phys_base: sub.phys_base as i64,
            max_mapnr: sub.max_mapnr_64.max(main.max_mapnr.into()),
            nr_cpus: main.nr_cpus,
            timestamp: main.timestamp_sec,
        },
        Headers::WinDmp { header, .. } => HeaderEntry::WinDmp {
            bits: header.bits(),
            dump_type: header.dump_type(),
            excludes: header.excludes(),
            version: header.version(),
            processors: header.number_processors(),
            directory_table_base: Number(header.directory_table_base()),
            kd_debugger_data_block: Number(header.kd_debugger_data_block()),
            bugcheck_code: Number(header.bugcheck().code.into()),
            bugcheck_parameters: header.bugcheck().parameters.map(Number),
            system_time: header.system_time(),
            product_type: header.product_type(),
        },
        Headers::Xen { header, core } => HeaderEntry::Xen {
            elf_machine: header.machine,
            paravirtualized: core.is_paravirtualized(),
            vcpus: core.nr_vcpus,
            listed_pages: core.nr_pages,
        },
        _ => HeaderEntry::Other {},
    }
}

fn utsname(uts: &Utsname) -> UtsnameEntry {
    let text = |field| Utsname::text(field).into_owned();
    UtsnameEntry {
        sysname: text(&uts.sysname),
        nodename: text(&uts.nodename),
        release: text(&uts.release),
        version: text(&uts.version),
        machine: text(&uts.machine),
        domainname: text(&uts.domainname),
    }
}

fn vmcoreinfo(info: &Vmcoreinfo) -> VmcoreinfoEntry {
    let text = |key| info.value(key).map(lossy);
    VmcoreinfoEntry {
        size: info.text().len(),
        osrelease: info.osrelease(),
        build_id: text("BUILD-ID"),
        page_size: info.page_size(),
        phys_base: info.number("phys_base"),
        kernel_offset: info.kernel_offset(),
        crash_time: info.crash_time(),
    }
}

fn cpus(vmcore: &Vmcore) -> Vec<Cpu> {
    let Some(machine) = vmcore.machine() else {
        return (0..vmcore.cpus()).map(|_| Cpu::default()).collect();
    };
    let notes = vmcore.notes().flatten().map(|(_, note)| note);
    let mut statuses = notes.filter(|note| note.is(CORE, NT_PRSTATUS));
    // A core of VirtualBox has registers without such notes.
    let cpu = |registers: CpuState| Cpu {
        pid: statuses
            .next()
            .and_then(|status: Note<'_>| machine.prstatus_pid(status.desc)),
        program_counter: Some(Number(registers.program_counter())),
        stack_pointer: Some(Number(registers.stack_pointer())),
        page_table_root: registers.page_table_root().map(Number),
        registers: Some(registers),
    };
    vmcore.registers().into_iter().map(cpu).collect()
}

fn notes(vmcore: &Vmcore) -> Vec<NoteEntry> {
    let entries = vmcore.notes().flatten().map(|(_, note)| NoteEntry {
        name: lossy(note.name),
        kind: note.kind,
        size: note.desc.len(),
    });
    entries.collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
