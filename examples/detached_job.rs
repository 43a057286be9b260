//! A dump in the background, with progress, and given up after a while.
//!
//! ```sh
//! cargo run --features demo --example detached_job -- guest.vmcore [SECONDS]
//! ```
#![allow(clippy::print_stdout)]

use std::env;
use std::error::Error as StdError;
use std::thread;
use std::time::{Duration, Instant};

use guestdump::demo::DemoGuest;
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{DumpJob, DumpOptions, DumpStatus, Format, GuestInfo, Machine};

fn main() -> Result<(), Box<dyn StdError>> {
    let mut args = env::args().skip(1);
    let path = args.next().ok_or("usage: detached_job FILE [SECONDS]")?;
    let patience = match args.next() {
        Some(seconds) => Duration::from_secs(seconds.parse()?),
        None => Duration::MAX,
    };

    let guest = DemoGuest::new(256 << 20)?;
    let sink = FileSink::create(&path, FileSinkOptions::default())?;
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).cpus(guest.cpus()),
        Format::KDUMP_RAW_SNAPPY,
    )
    .threads(0);
    // The job owns memory and sink from here on; a VMM that needs its memory
    // meanwhile gives an `Arc`.
    let job = DumpJob::start(guest, sink, options);

    let begun = Instant::now();
    while job.status() == DumpStatus::Active {
        if begun.elapsed() >= patience {
            // Only asks. The dump ends at once or a block later, so the loop
            // goes on.
            job.progress().cancel();
        }
        thread::sleep(Duration::from_millis(100));
        if !job.progress().is_cancelled() {
            let figures = job.progress().snapshot();
            println!("{} of {} MiB", figures.done >> 20, figures.total >> 20);
        }
    }

    match job.wait() {
        Ok(summary) => println!("{path}: {} pages", summary.pages),
        // What was asked for is no failure. There is no file of that name.
        Err(error) if error.is_cancelled() => println!("given up"),
        Err(error) if error.is_refusal() => return Err(format!("not begun: {error}").into()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
