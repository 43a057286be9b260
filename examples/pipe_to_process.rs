//! A dump into a program's standard input: a compressor, `ssh`, an uploader.
//!
//! ```sh
//! cargo run --features demo --example pipe_to_process -- \
//!     sh -c 'gzip > guest.vmcore.gz'
//! ```
#![allow(clippy::print_stdout)]

use std::env;
use std::error::Error;
use std::process::{Command, Stdio};

use guestdump::demo::DemoGuest;
use guestdump::sink::StreamSink;
use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump, error_chain};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args_os().skip(1);
    let program = args
        .next()
        .ok_or("usage: pipe_to_process PROGRAM [ARG]...")?;
    let guest = DemoGuest::new(64 << 20)?;
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).cpus(guest.cpus()),
        Format::KDUMP_SNAPPY,
    )
    .threads(0);

    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take().ok_or("the program has no input")?;
    let mut sink = StreamSink::new(stdin);
    // A program that ends early is a write error here, not a SIGPIPE: Rust
    // programs ignore that signal. A monitor in another language must, too.
    let dumped = dump(&guest, &mut sink, &options);
    if dumped.is_err() {
        // Before the pipe closes: its end would look like that of the dump.
        // If the program is gone already, that is as good.
        let _ = child.kill();
    }
    // Without this the program waits for more, and `wait` for the program.
    drop(sink);
    // Always, or the program stays a zombie.
    let status = child.wait()?;
    match dumped {
        Err(error) => Err(format!("{} (the program: {status})", error_chain(&error)).into()),
        // The dump is only as good as what became of it.
        Ok(_) if !status.success() => Err(format!("the program failed: {status}").into()),
        Ok(summary) => {
            println!("{} bytes taken", summary.bytes_written);
            Ok(())
        }
    }
}
