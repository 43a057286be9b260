//! QEMU's dump commands on standard input, a line of JSON each; replies and
//! events on standard output.
//!
//! ```sh
//! cargo run --features demo,serde --example qmp_server
//! {"execute": "qmp_capabilities"}
//! {"execute": "dump-guest-memory", "arguments": {"paging": false, "protocol": "file:vmcore"}}
//! {"execute": "query-dump"}
//! ```
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use guestdump::demo::DemoGuest;
use guestdump::qapi::{
    Answer, Command, DumpService, EventMessage, Guest, GuestControl, Outcome, Reply, RunState,
};
use guestdump::{CpuState, Machine};

const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;

/// A line to the client. Replies and events come from different threads; the
/// lock keeps lines whole.
fn send(message: impl std::fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{message}")?;
    stdout.flush()
}

struct Vm {
    ram: Arc<DemoGuest>,
    running: AtomicBool,
}

impl GuestControl for Vm {
    fn run_state(&self) -> RunState {
        if self.running.load(SeqCst) {
            RunState::Running
        } else {
            RunState::Paused
        }
    }

    fn pause(&self) -> io::Result<bool> {
        // A monitor waits here until every vCPU and every device stands still.
        Ok(self.running.swap(false, SeqCst))
    }

    fn resume(&self) {
        self.running.store(true, SeqCst);
    }
}

impl Guest for Vm {
    type Memory = Arc<DemoGuest>;

    fn machine(&self) -> Machine {
        Machine::X86_64
    }

    fn memory(&self) -> io::Result<Self::Memory> {
        Ok(Arc::clone(&self.ram))
    }

    fn registers(&self) -> io::Result<Vec<CpuState>> {
        Ok(self.ram.cpus().into_iter().map(Into::into).collect())
    }

    fn event(&self, event: EventMessage) {
        // A client that is gone does not concern the dump.
        let _ = send(event);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Vm {
        ram: Arc::new(DemoGuest::new(64 << 20)?),
        running: AtomicBool::new(true),
    };
    let service = DumpService::new(Arc::new(vm));
    send(GREETING)?;
    for line in io::stdin().lines() {
        let line = line?;
        match serde_json::from_str::<Command>(&line) {
            // The session is the monitor's; the service has the dump commands.
            Ok(command) if command.execute == "qmp_capabilities" => send(Reply {
                outcome: Outcome::Return(Answer::DumpGuestMemory {}),
                id: command.id,
            })?,
            // Also what is no command: the service has the reply to it. For
            // `fd:NAME` a monitor looks up what `getfd` has stored.
            _ => send(service.dispatch(&line, |_| None))?,
        }
    }
    // Dropped, the service cancels a dump that is still being written, and
    // waits until the guest runs again.
    Ok(())
}
