//! A sink of one's own: the dump goes up in parts, as in a multipart upload
//! to object storage. Here a folder is the storage.
//!
//! ```sh
//! cargo run --features demo --example upload_parts -- FOLDER
//! ```
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use guestdump::demo::DemoGuest;
use guestdump::sink::SinkAccess;
use guestdump::{DumpOptions, DumpSink, Format, GuestInfo, Machine, dump};

/// S3 refuses parts under 5 MiB but for the last, and takes 10,000 at most.
const PART: usize = 8 << 20;

/// An upload that has begun.
struct Upload {
    folder: PathBuf,
    part: Vec<u8>,
    parts: u32,
}

impl Upload {
    fn part_path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("part-{number:05}"))
    }

    /// UploadPart. This is the place for the network, and for its repetitions.
    fn put(&mut self) -> io::Result<()> {
        fs::write(self.part_path(self.parts), &self.part)?;
        self.parts += 1;
        self.part.clear();
        Ok(())
    }
}

/// AbortMultipartUpload, also if the dump failed or panicked: parts cost money.
impl Drop for Upload {
    fn drop(&mut self) {
        for number in 0..=self.parts {
            // Nobody is left to tell; the storage has a rule for its leftovers.
            let _ = fs::remove_file(self.part_path(number));
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // First of all: after an error from here none of `bytes` was taken, and
        // they may come again.
        if self.part.len() == PART {
            self.put()?;
        }
        let n = bytes.len().min(PART - self.part.len());
        self.part.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // A part that is not full may not go up yet.
    }
}

impl DumpSink for Upload {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Stream(self)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.put()?;
        // CompleteMultipartUpload: the object is there at once, or not at all.
        let first = self.part_path(0);
        let mut joined = File::options().append(true).open(&first)?;
        for number in 1..self.parts {
            io::copy(&mut File::open(self.part_path(number))?, &mut joined)?;
        }
        fs::hard_link(first, self.folder.join("guest.vmcore"))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1);
    let mut upload = Upload {
        folder: folder.ok_or("usage: upload_parts FOLDER")?.into(),
        part: Vec::with_capacity(PART),
        parts: 0,
    };
    let guest = DemoGuest::new(64 << 20)?;
    // The formats without "raw" go strictly forward.
    let info = GuestInfo::new(Machine::X86_64).cpus(guest.cpus());
    let options = DumpOptions::new(info, Format::KDUMP_SNAPPY);
    let summary = dump(&guest, &mut upload, &options)?;
    println!("{} bytes in {} parts", summary.bytes_written, upload.parts);
    Ok(())
}
