//! A guest that counts how often it was paused and resumed, and can
//! misbehave.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use guestdump::arch::x86_64;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MemoryRange;
use guestdump::qapi::{
    DumpCompleted, DumpGuestMemoryArguments, Event, EventMessage, Guest, GuestControl, RunState,
};
use guestdump::{CpuState, DumpOptions, GuestMemory, Machine};
use testkit::options::With;
use testkit::{Page, PageMemory};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    PauseFails,
    PausePanics,
    ResumePanics,
    MemoryFails,
    RegistersFail,
    RegistersPanic,
    ReadFails,
    ReadPanics,
    NoRam,
}

pub(crate) struct Vm {
    pub(crate) running: AtomicBool,
    pub(crate) run_state: Mutex<Option<RunState>>,
    pub(crate) migrating: AtomicBool,
    pub(crate) pauses: AtomicUsize,
    pub(crate) resumes: AtomicUsize,
    trouble: Trouble,
    /// Reads of guest memory wait for this, if it is there.
    gate: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
    events: Mutex<mpsc::Sender<(DumpCompleted, bool)>>,
}

/// The events, each with whether the guest ran when it came.
pub(crate) type Events = mpsc::Receiver<(DumpCompleted, bool)>;

impl Vm {
    pub(crate) fn new(trouble: Trouble) -> (Arc<Self>, Events) {
        let (events, told) = mpsc::channel();
        let vm = Self {
            running: true.into(),
            run_state: Mutex::default(),
            migrating: false.into(),
            pauses: 0.into(),
            resumes: 0.into(),
            trouble,
            gate: Arc::default(),
            events: events.into(),
        };
        (Arc::new(vm), told)
    }

    /// From now on reads wait until the sender is dropped.
    pub(crate) fn shut_gate(&self) -> mpsc::Sender<()> {
        let (open, gate) = mpsc::channel();
        *self.gate.lock().unwrap() = Some(gate);
        open
    }

    /// Times paused, times resumed, and whether the guest runs.
    pub(crate) fn counts(&self) -> (usize, usize, bool) {
        (
            self.pauses.load(SeqCst),
            self.resumes.load(SeqCst),
            self.running.load(SeqCst),
        )
    }
}

impl GuestControl for Vm {
    fn run_state(&self) -> RunState {
        let state = *self.run_state.lock().unwrap();
        state.unwrap_or(if self.running.load(SeqCst) {
            RunState::Running
        } else {
            RunState::Paused
        })
    }

    fn pause(&self) -> io::Result<bool> {
        self.pauses.fetch_add(1, SeqCst);
        let was_running = self.running.swap(false, SeqCst);
        match self.trouble {
            Trouble::PauseFails => Err(io::Error::other("a CPU does not stop")),
            Trouble::PausePanics => panic!("in pause"),
            _ => Ok(was_running),
        }
    }

    fn resume(&self) {
        self.resumes.fetch_add(1, SeqCst);
        self.running.store(true, SeqCst);
        assert!(self.trouble != Trouble::ResumePanics, "in resume");
    }
}

impl Guest for Vm {
    type Memory = Memory;

    fn machine(&self) -> Machine {
        Machine::X86_64
    }

    fn is_migrating(&self) -> bool {
        self.migrating.load(SeqCst)
    }

    fn memory(&self) -> io::Result<Memory> {
        assert!(!self.running.load(SeqCst), "looked at while it runs");
        let mut pages = PageMemory::new([(0, vec![Page::Text(1); 8]), (1 << 20, vec![Page::Zero])]);
        match self.trouble {
            Trouble::MemoryFails => return Err(io::Error::other("no memory")),
            Trouble::NoRam => pages.ranges.clear(),
            Trouble::ReadFails => pages.poisoned = Some(4096),
            Trouble::ReadPanics => pages.explosive = Some(4096),
            _ => {}
        }
        Ok(Memory {
            pages,
            gate: Arc::clone(&self.gate),
        })
    }

    fn registers(&self) -> io::Result<Vec<CpuState>> {
        assert!(!self.running.load(SeqCst), "looked at while it runs");
        match self.trouble {
            Trouble::RegistersFail => Err(io::Error::other("no registers")),
            Trouble::RegistersPanic => panic!("in registers"),
            _ => {
                // Extension type alone: paging is off.
                let cr0 = 1 << 4;
                let registers = x86_64::Registers {
                    cr0,
                    ..Default::default()
                };
                Ok(vec![registers.into()])
            }
        }
    }

    fn adjust(&self, options: DumpOptions) -> DumpOptions {
        options.with_guest(|guest| guest.vmcoreinfo(VmcoreinfoSource::None))
    }

    fn event(&self, message: EventMessage) {
        let Event::DumpCompleted(completed) = message.event else {
            panic!("another event");
        };
        let running = self.running.load(SeqCst);
        let _ = self.events.lock().unwrap().send((completed, running));
    }
}

pub(crate) struct Memory {
    pages: PageMemory,
    gate: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
}

impl GuestMemory for Memory {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.pages.ranges()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        if let Some(gate) = &*self.gate.lock().unwrap() {
            // An error means that the gate is open for good.
            let _ = gate.recv();
        }
        self.pages.read(gpa, buf)
    }
}

/// Bytes of guest memory.
pub(crate) const TOTAL: u64 = 9 * 4096;

pub(crate) fn to(protocol: &str) -> DumpGuestMemoryArguments {
    DumpGuestMemoryArguments {
        paging: false,
        protocol: protocol.into(),
        detach: None,
        begin: None,
        length: None,
        format: None,
    }
}
