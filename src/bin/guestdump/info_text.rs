//! `guestdump info` for people. Every text from the dump is escaped.

use std::fmt::{self, Write};

use guestdump::abi::number::Number;

use crate::info_entry::{Cpu, HeaderEntry, Info, VmcoreinfoEntry};
use crate::report::{cut, escape, human};

/// Most lines of a list; `--json` has all.
const MAX_LINES: usize = 64;
/// Most characters of a text from the dump; `--json` has all.
const MAX_TEXT: usize = 256;

fn text(from_dump: &str) -> String {
    escape(&cut(from_dump, MAX_TEXT))
}

/// The whole text.
pub(crate) fn render(info: &Info) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, info);
    out
}

fn write(out: &mut String, info: &Info) -> fmt::Result {
    let flattened = if info.flattened { ", flattened" } else { "" };
    let complete = if info.complete {
        "complete"
    } else {
        "INCOMPLETE"
    };
    writeln!(out, "file:        {}", escape(&info.file))?;
    writeln!(out, "format:      {}{flattened}, {complete}", info.format)?;
    for lack in &info.lacks {
        writeln!(out, "lacks:       {}", text(&lack.what))?;
    }
    write!(out, "size:        {}", human(info.file_size))?;
    if info.raw_size != info.file_size {
        write!(out, ", rearranged {}", human(info.raw_size))?;
    }
    writeln!(out)?;
    write!(out, "machine:     {}", info.machine.unwrap_or("unknown"))?;
    match info.page_size {
        Some(bytes) => writeln!(out, ", pages of {bytes} bytes")?,
        None => writeln!(out)?,
    }
    writeln!(
        out,
        "memory:      {}, {} pages in the dump",
        human(info.bytes_total),
        info.pages
    )?;
    if info.absent_bytes > 0 || info.dump_level > 0 || info.vmemmap_excluded {
        writeln!(
            out,
            "excluded:    {} of RAM, dump level {}{}",
            human(info.absent_bytes),
            info.dump_level,
            if info.vmemmap_excluded {
                ", with the page structures of excluded pages"
            } else {
                ""
            }
        )?;
    }
    write_header(out, &info.header)?;
    if let Some(u) = &info.utsname {
        let fields = [&u.sysname, &u.nodename, &u.release, &u.version, &u.machine];
        let fields = fields.map(|field| text(field)).join(" ");
        writeln!(out, "utsname:     {fields}")?;
    }
    write_vmcoreinfo(out, info.vmcoreinfo.as_ref())?;

    list(out, "CPUs", &info.cpus, write_cpu)?;
    if let Some(why) = &info.unknown_registers {
        writeln!(out, "  {}", escape(why))?;
    }
    list(out, "notes", &info.notes, |out, _, note| {
        let name = text(&note.name);
        write!(out, "{name}, type {:#x}, {} bytes", note.kind, note.size)
    })?;
    list(out, "ranges", &info.ranges, |out, _, range| {
        let end = range.gpa.saturating_add(range.size);
        write!(out, "{:#x}..{end:#x}, {}", range.gpa, human(range.size))
    })
}

fn write_header(out: &mut String, header: &HeaderEntry) -> fmt::Result {
    match header {
        HeaderEntry::Elf {
            elf_type,
            elf_machine,
            program_headers,
            loads,
        } => writeln!(
            out,
            "header:      ELF type {elf_type}, machine {elf_machine}, {program_headers} program headers, {loads} PT_LOAD"
        ),
        HeaderEntry::Kdump {
            version,
            status,
            dump_level,
            split,
            phys_base,
            max_mapnr,
            nr_cpus,
            timestamp,
        } => {
            let split = if *split { ", split" } else { "" };
            writeln!(
                out,
                "header:      kdump version {version}, status {status:#x}, dump level {dump_level}{split}, \
                 max_mapnr {max_mapnr:#x}, {nr_cpus} CPUs, phys_base {}, time {timestamp}",
                signed_hex(*phys_base)
            )
        }
        HeaderEntry::WinDmp {
            bits,
            dump_type,
            excludes,
            version: (major, minor),
            processors,
            directory_table_base,
            kd_debugger_data_block,
            bugcheck_code,
            bugcheck_parameters,
            system_time,
            product_type,
        } => {
            writeln!(
                out,
                "header:      Windows {bits}-bit, dump type {dump_type}, version {major}.{minor}, \
                 product type {product_type}, {processors} processors, time {system_time}"
            )?;
            writeln!(
                out,
                "             DirectoryTableBase {:#x}, KdDebuggerDataBlock {:#x}",
                directory_table_base.0, kd_debugger_data_block.0
            )?;
            if let Some(excludes) = excludes {
                writeln!(out, "             {excludes}")?;
            }
            let [a, b, c, d] = bugcheck_parameters.map(|Number(value)| value);
            writeln!(
                out,
                "bug check:   {:#x} ({a:#x}, {b:#x}, {c:#x}, {d:#x})",
                bugcheck_code.0
            )
        }
        HeaderEntry::Xen {
            elf_machine,
            paravirtualized,
            vcpus,
            listed_pages,
        } => {
            let kind = if *paravirtualized {
                "paravirtualized"
            } else {
                "fully virtualized"
            };
            writeln!(
                out,
                "header:      Xen dump-core, machine {elf_machine}, {kind}, {vcpus} vCPUs, {listed_pages} pages listed"
            )
        }
        HeaderEntry::Other {} => Ok(()),
    }
}

fn write_vmcoreinfo(out: &mut String, info: Option<&VmcoreinfoEntry>) -> fmt::Result {
    let Some(info) = info else {
        return writeln!(out, "VMCOREINFO:  none");
    };
    write!(
        out,
        "VMCOREINFO:  {}, {} bytes",
        text(&info.osrelease),
        info.size
    )?;
    if let Some(bytes) = info.page_size {
        write!(out, ", page size {bytes}")?;
    }
    if let Some(base) = info.phys_base {
        write!(out, ", phys_base {}", signed_hex(base))?;
    }
    if let Some(offset) = info.kernel_offset {
        write!(out, ", kernel offset {offset:#x}")?;
    }
    if let Some(time) = info.crash_time {
        write!(out, ", crash time {time}")?;
    }
    if let Some(id) = &info.build_id {
        write!(out, ", build ID {}", text(id))?;
    }
    writeln!(out)
}

fn write_cpu(out: &mut String, index: usize, cpu: &Cpu) -> fmt::Result {
    write!(out, "CPU {index}:")?;
    for (name, value) in [
        ("pc", cpu.program_counter),
        ("sp", cpu.stack_pointer),
        ("page tables", cpu.page_table_root),
    ] {
        match value {
            Some(Number(value)) => write!(out, " {name} {value:#x}")?,
            None => write!(out, " {name} unknown")?,
        }
    }
    Ok(())
}

fn list<T>(
    out: &mut String,
    name: &str,
    items: &[T],
    mut write_item: impl FnMut(&mut String, usize, &T) -> fmt::Result,
) -> fmt::Result {
    writeln!(out, "{name}: {}", items.len())?;
    for (index, item) in items.iter().take(MAX_LINES).enumerate() {
        write!(out, "  ")?;
        write_item(out, index, item)?;
        writeln!(out)?;
    }
    if items.len() > MAX_LINES {
        writeln!(out, "  … and {} more, see --json", items.len() - MAX_LINES)?;
    }
    Ok(())
}

fn signed_hex(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{:#x}", value.unsigned_abs())
}
