//! A dump from asynchronous code: the job's callback completes a oneshot
//! channel, which a task awaits. No thread of the runtime is blocked.
//!
//! ```sh
//! cargo run --features demo --example async_vmm -- guest.vmcore
//! ```
#![allow(clippy::print_stdout)]

use std::env;
use std::error::Error as StdError;

use guestdump::demo::DemoGuest;
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{DumpJob, DumpOptions, Format, GuestInfo, Machine};
use tokio::sync::oneshot;

fn main() -> Result<(), Box<dyn StdError>> {
    let path = env::args().nth(1).ok_or("usage: async_vmm FILE")?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(dump(path))
}

async fn dump(path: String) -> Result<(), Box<dyn StdError>> {
    let guest = DemoGuest::new(64 << 20)?;
    let info = GuestInfo::new(Machine::X86_64).cpus(guest.cpus());
    let options = DumpOptions::new(info, Format::KDUMP_RAW_SNAPPY).threads(0);
    // Creating a file may block, so the runtime's own pool does it.
    let file = path.clone();
    let sink =
        tokio::task::spawn_blocking(move || FileSink::create(&file, FileSinkOptions::default()))
            .await??;

    let (done, wait) = oneshot::channel();
    let job = DumpJob::start_with(guest, sink, options, |_| {
        // Nobody listens if the task was dropped.
        let _ = done.send(());
    });
    // Dropping this future here would drop the job, which cancels the dump.
    wait.await?;
    // The dump has ended, so this returns at once.
    let summary = job.wait()?;
    println!("{path}: {} pages", summary.pages);
    Ok(())
}
