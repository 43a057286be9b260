//! The smallest embedding: what a virtual machine monitor adds to its code.
//! The README shows this file.
#![allow(clippy::print_stdout)]

use guestdump::arch::x86_64::Registers;
use guestdump::memory::{GuestMemory, MemoryRange};
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{DumpOptions, Format, dump};

/// Your guest: here 16 MiB of RAM at guest-physical address 0.
struct Vm {
    ram: Vec<u8>,
}

impl GuestMemory for Vm {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![MemoryRange::new(0, self.ram.len() as u64).expect("whole pages")]
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let bytes = self
            .ram
            .get(gpa as usize..)
            .and_then(|ram| ram.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(std::io::ErrorKind::InvalidInput)?);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: embed FILE")?;
    let vm = Vm {
        ram: vec![0; 16 << 20],
    };
    let vcpu0 = Registers {
        rip: 0xffff_ffff_8100_0000,
        ..Registers::default()
    };
    let mut sink = FileSink::create(path, FileSinkOptions::default())?;
    let options = DumpOptions::new(Format::KdumpRawSnappy)
        .cpus([vcpu0])
        .threads(0);
    let summary = dump(&vm, &mut sink, &options)?;
    println!(
        "{} pages, {} bytes written",
        summary.pages, summary.bytes_written
    );
    Ok(())
}
