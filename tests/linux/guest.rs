//! A guest with nothing but some variables of its kernel, which maps memory
//! linearly.

use std::sync::atomic::{AtomicU64, Ordering};

use guestdump::guest::linux::{Kernel, KernelError, LogRecord};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::{ByteOrder, Class, GuestInfo, GuestMemory, Machine, MemoryRange, Workers};

/// Guest-virtual address of guest-physical address 0 on 64-bit PowerPC.
pub(crate) const KERNEL: u64 = 0xc000_0000_0000_0000;
/// The same of x86_64 (`__PAGE_OFFSET_BASE_L4` of Linux), by page tables.
const X86_64: u64 = 0xffff_8880_0000_0000;

pub(crate) struct Guest {
    pub(crate) machine: Machine,
    pub(crate) ram: Vec<u8>,
    pub(crate) info: String,
    /// Reads of guest memory, and the bytes that they asked for.
    pub(crate) reads: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Guest {
    /// The last two pages of x86_64's RAM are page tables.
    pub(crate) fn new(machine: Machine, size: usize) -> Self {
        let mut guest = Self {
            machine,
            ram: vec![0; size],
            info: "OSRELEASE=6.1.0-test\nPAGESIZE=4096\n".to_owned(),
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        match machine {
            Machine::Arm => guest.line("SYMBOL(_stext)=c0008000"),
            Machine::X86_64 => {
                let (root, next) = (size as u64 - 0x2000, size as u64 - 0x1000);
                let vaddr = 0xffff_ffff_8000_0000 + root;
                guest.line(format_args!("SYMBOL(init_top_pgt)={vaddr:x}"));
                guest.line("NUMBER(phys_base)=0");
                guest.put_word(root + (X86_64 >> 39 & 511) * 8, next | 0x63);
                // The first GiB in one page.
                guest.put_word(next, 0x1e3);
            }
            _ => {}
        }
        guest
    }

    pub(crate) fn line(&mut self, line: impl std::fmt::Display) {
        self.info.push_str(&format!("{line}\n"));
    }

    pub(crate) fn vaddr(&self, gpa: u64) -> u64 {
        match self.machine {
            Machine::Arm => 0xc000_0000 + gpa,
            Machine::X86_64 => X86_64 + gpa,
            // Before Linux 6.10, or where tables say else.
            Machine::S390x => gpa,
            _ => KERNEL + gpa,
        }
    }

    pub(crate) fn word_size(&self) -> u64 {
        match self.machine.encoding().class {
            Class::Bits32 => 4,
            Class::Bits64 => 8,
        }
    }

    pub(crate) fn put(&mut self, gpa: u64, len: u64, value: u64) {
        let at = gpa as usize..(gpa + len) as usize;
        let little = value.to_le_bytes();
        let bytes = &mut self.ram[at];
        bytes.copy_from_slice(&little[..len as usize]);
        if self.machine.encoding().order == ByteOrder::Big {
            bytes.reverse();
        }
    }

    pub(crate) fn put_word(&mut self, gpa: u64, value: u64) {
        self.put(gpa, self.word_size(), value);
    }

    pub(crate) fn info(&self) -> GuestInfo {
        let info = self.info.clone().into_bytes();
        GuestInfo::new(self.machine).vmcoreinfo(VmcoreinfoSource::Bytes(info))
    }

    /// Each record of the log, or the first error.
    pub(crate) fn log(&self) -> Result<Vec<LogRecord>, KernelError> {
        let workers = Workers::new();
        let kernel = Kernel::find(self, &self.info(), &workers).unwrap();
        kernel.log()?.collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let log = self.log().unwrap();
        log.iter()
            .map(|record| String::from_utf8(record.text.clone()).unwrap())
            .collect()
    }
}

impl GuestMemory for Guest {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![MemoryRange::new(0, self.ram.len() as u64).unwrap()]
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        buf.copy_from_slice(&self.ram[gpa as usize..][..buf.len()]);
        Ok(())
    }
}
