//! Reads a guest's memory for the facts in a dump's headers.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use zerocopy::{FromZeros, IntoBytes};

use crate::abi::Utsname;
use crate::arch::Machine;
use crate::memory::{GuestMemory, MemoryRange, find_range, not_ram, read_populated};
use crate::vmcoreinfo::Vmcoreinfo;

/// The facts about the guest in kdump's headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderFacts {
    pub(crate) utsname: Utsname,
    pub(crate) phys_base: Option<u64>,
    /// The time since 1970; 0 if unknown.
    pub(crate) timestamp: Duration,
    /// The number of CPUs, if it is known; at least the CPUs that have notes.
    pub(crate) nr_cpus: u32,
    pub(crate) current_cpu: u32,
}

/// A guest whose ranges are checked, for reading its memory.
#[derive(Clone, Copy)]
pub(crate) struct Guest<'a> {
    pub(crate) memory: &'a dyn GuestMemory,
    pub(crate) ranges: &'a [MemoryRange],
    pub(crate) machine: Machine,
}

impl Guest<'_> {
    /// Returns the guest-physical address at which RAM begins; 0 if there is none.
    pub(crate) fn ram_start(&self) -> u64 {
        self.ranges.first().map_or(0, MemoryRange::start)
    }

    /// Fills `buf` from `gpa` on. Unpopulated memory gives zeroes and is not read, because the
    /// guest may have chosen the address.
    ///
    /// # Errors
    ///
    /// If not all of `buf` lies in RAM, or the memory cannot be read.
    pub(crate) fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let len = buf.len();
        let mut done = 0;
        while done < len {
            let at = gpa
                .checked_add(done as u64)
                .ok_or_else(|| not_ram(gpa, len))?;
            let index = find_range(self.ranges, at, |range| *range);
            let range = self.ranges[index.ok_or_else(|| not_ram(gpa, len))?];
            let n = (range.end() - at).min((len - done) as u64) as usize;
            read_populated(self.memory, range, at, &mut buf[done..done + n])?;
            done += n;
        }
        Ok(())
    }
}

/// Returns the guest-physical address that VMCOREINFO gives for the kernel's `init_uts_ns.name`;
/// `None` if it does not tell.
pub(crate) fn utsname_place(guest: Guest<'_>, info: &Vmcoreinfo) -> Option<u64> {
    let vaddr = info
        .symbol("init_uts_ns")?
        .checked_add(info.offset("uts_namespace.name")?)?;
    let ram_start = guest.ranges.first()?.start();
    guest.machine.kernel_image_in_ram(vaddr, info, ram_start)
}

/// Reads the guest kernel's `init_uts_ns.name`, at the address that VMCOREINFO gives. It must look
/// like one: each string ends in a NUL, sysname is `Linux`, and release is not empty.
pub(crate) fn read_utsname(guest: Guest<'_>, info: &Vmcoreinfo) -> Option<Utsname> {
    let gpa = utsname_place(guest, info)?;
    let mut uts = Utsname::new_zeroed();
    guest.read(gpa, uts.as_mut_bytes()).ok()?;
    let fields = [
        &uts.sysname,
        &uts.nodename,
        &uts.release,
        &uts.version,
        &uts.machine,
        &uts.domainname,
    ];
    let sane = fields.iter().all(|field| field.contains(&0))
        && Utsname::text(&uts.sysname) == "Linux"
        && !Utsname::text(&uts.release).is_empty();
    sane.then_some(uts)
}

/// Returns the six strings for kdump's header. A string that the guest does not give gets a
/// placeholder that libkdumpfile accepts. libkdumpfile takes the architecture from here only if
/// sysname is `Linux` and release, version and machine are not empty.
pub(crate) fn utsname_for_header(
    known: Option<Utsname>,
    machine: Machine,
    info: Option<&Vmcoreinfo>,
) -> Utsname {
    let mut uts = known.unwrap_or_default();
    let fill = |field: &mut [u8; 65], text: &str| {
        if field[0] == 0 {
            *field = Utsname::field(text);
        }
        field[64] = 0;
    };
    fill(&mut uts.sysname, "Linux");
    fill(&mut uts.nodename, "(none)");
    let release = info.map(Vmcoreinfo::osrelease);
    fill(&mut uts.release, release.as_deref().unwrap_or("unknown"));
    fill(&mut uts.version, "unknown");
    // Readers choose the architecture by this string, so the guest does not decide it.
    uts.machine = Utsname::field(machine.uname());
    fill(&mut uts.domainname, "(none)");
    uts
}
