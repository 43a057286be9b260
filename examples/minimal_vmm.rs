//! A monitor in small, on vm-memory and KVM's structs (on an x86_64 host): two
//! vCPUs run, the guest panics, the monitor stops it, dumps it, lets it run on.
//!
//! ```sh
//! cargo run --features vm-memory,kvm-bindings --example minimal_vmm -- guest.vmcore
//! ```
#![allow(clippy::print_stdout)]
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{PoisonError, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use guestdump::adapters::{kvm::x86_64 as kvm, vm_memory::VmMemory};
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{DumpOptions, Format, GuestInfo, Machine, Progress, dump};
use kvm_bindings::{kvm_msr_entry, kvm_regs, kvm_sregs};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Vm {
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    /// Each vCPU's instruction pointer: a monitor has its descriptors here.
    vcpus: [AtomicU64; 2],
    /// Guest code runs with this taken for reading.
    pause: RwLock<()>,
}

impl Vm {
    fn run(&self, cpu: usize, panicked: mpsc::Sender<usize>) -> Result<()> {
        for step in 0..100_000 {
            let _running = self.pause.read().unwrap_or_else(PoisonError::into_inner);
            let rip = 1 + self.vcpus[cpu].fetch_add(1, SeqCst);
            let gpa = GuestAddress(0x1000 * cpu as u64);
            self.memory.memory().write_obj(rip, gpa)?;
            if (cpu, step) == (0, 1000) {
                panicked.send(cpu)?; // The guest writes to pvpanic's port.
            }
        }
        Ok(())
    }

    fn dump(&self, path: &str) -> Result<()> {
        // No vCPU runs from here on, and all do after the end, whether the dump
        // is good, fails or panics. A monitor also kicks vCPUs out of KVM_RUN.
        let _paused = self.pause.write().unwrap_or_else(PoisonError::into_inner);
        let cpus = self.vcpus.each_ref().map(|rip| {
            // KVM_GET_REGS, KVM_GET_SREGS; without the MSR a debugger does not
            // find the per-CPU data of a CPU in user mode.
            let (mut regs, mut sregs) = (kvm_regs::default(), kvm_sregs::default());
            (regs.rip, sregs.cr3) = (rip.load(SeqCst), 0x2000);
            let mut msr = kvm_msr_entry::default();
            (msr.index, msr.data) = (kvm::MSR_KERNEL_GS_BASE, 0xffff_8880_0000_0000);
            kvm::registers(&regs, &sregs, &[msr])
        });
        // Made for each dump, so that it has the memory plugged since.
        let memory = VmMemory::new(self.memory.memory())?;
        let mut sink = FileSink::create(path, FileSinkOptions::default())?;
        let progress = Progress::new();
        let guest = GuestInfo::new(Machine::X86_64).cpus(cpus);
        let options = DumpOptions::new(guest, Format::Elf).threads(0);
        let options = options.progress(progress.clone());
        let summary = thread::scope(|scope| {
            let dump = scope.spawn(|| dump(&memory, &mut sink, &options));
            while !dump.is_finished() {
                let figures = progress.snapshot();
                println!("{} of {} MiB", figures.done >> 20, figures.total >> 20);
                thread::sleep(Duration::from_millis(50));
            }
            dump.join().map_err(|_| "the dump's thread panicked")
        })??;
        println!("{} pages, {} zero", summary.pages, summary.zero_pages);
        Ok(())
    }
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or("usage: minimal_vmm FILE")?;
    let (low, high) = (GuestAddress(0), GuestAddress(4 << 30));
    let ram = GuestMemoryMmap::from_ranges(&[(low, 64 << 20), (high, 64 << 20)])?;
    let vm = &Vm {
        memory: GuestMemoryAtomic::new(ram),
        vcpus: Default::default(),
        pause: RwLock::default(),
    };
    let (tell, panicked) = mpsc::channel();
    thread::scope(|scope| {
        let start = |cpu, tell| scope.spawn(move || vm.run(cpu, tell));
        let vcpus = [start(0, tell.clone()), start(1, tell)];
        println!("vCPU {} panicked", panicked.recv()?);
        let dumped = vm.dump(&path);
        for vcpu in vcpus {
            vcpu.join().map_err(|_| "a vCPU's thread panicked")??;
        }
        println!("vCPU 0 ran on to {}", vm.vcpus[0].load(SeqCst));
        dumped
    })
}
