//! A dump in the background, with progress, and given up after a while.
//!
//! ```sh
//! cargo run --features demo --example detached_job -- guest.vmcore [SECONDS]
//! ```
#![allow(clippy::print_stdout)]

use guestdump::{Fault, GuestInfo, Machine};
use std::env;
use std::error::Error as StdError;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use guestdump::demo::DemoGuest;
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{DumpJob, DumpOptions, Error, Format};

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
    let (tell, end) = mpsc::channel();
    // The job owns memory and sink from here on; a monitor that needs its
    // memory meanwhile gives an `Arc`. Both are dropped before the callback.
    let job = DumpJob::start(guest, sink, options, move |result| {
        // The callback runs on the job's thread: hand on, do not work. The
        // receiver is there until the end of `main`.
        let _ = tell.send(result);
    });

    let begun = Instant::now();
    let result = loop {
        if begun.elapsed() >= patience {
            // Only asks. The end is told like any other, at once or a block
            // later, so the loop goes on.
            job.progress().cancel();
        }
        match end.recv_timeout(Duration::from_millis(100)) {
            Ok(result) => break result,
            Err(RecvTimeoutError::Timeout) => {
                let figures = job.progress().snapshot();
                println!("{} of {} MiB", figures.done >> 20, figures.total >> 20);
            }
            Err(RecvTimeoutError::Disconnected) => return Err("the dump's end is lost".into()),
        }
    };
    // Dropping the job does this as well, and would cancel before.
    job.wait();

    match result {
        Ok(summary) => println!("{path}: {} pages", summary.pages),
        // What was asked for is no failure. There is no file of that name.
        Err(Error::Failed(Fault::Cancelled)) => println!("given up"),
        Err(error) if error.is_refusal() => return Err(format!("not begun: {error}").into()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
