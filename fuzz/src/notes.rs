//! Notes to registers and back.

use guestdump::elf::Notes;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::SliceMemory;
use guestdump::read::Vmcore;
use guestdump::{DumpOptions, Error, Format, GuestInfo, Machine, Refusal, dump};
use testkit::FaultySink;

use super::allocator::bounded;

/// The first byte chooses the machine.
pub fn notes(input: &[u8]) {
    let Some((&machine, segment)) = input.split_first() else {
        return;
    };
    let machine = Machine::ALL[usize::from(machine) % Machine::ALL.len()];
    bounded((4 << 20) + 64 * segment.len(), || decode(machine, segment));
}

fn decode(machine: Machine, segment: &[u8]) {
    let notes = Notes::new(segment, machine.encoding().order);
    for (at, note) in notes.clone().flatten() {
        assert_eq!(&segment[at..at + note.desc.len()], note.desc);
    }
    let cpus = machine.decode_notes(notes.clone());
    assert_eq!(cpus.len(), notes.cpus());
    for registers in &cpus {
        assert!(registers.fit(machine));
        let _ = (registers.program_counter(), registers.stack_pointer());
        let _ = registers.page_table_root();
    }

    // What is once encoded says the same from then on.
    let page = vec![0; 65536];
    let memory = SliceMemory::new([(0, &page[..])]).unwrap();
    let options = DumpOptions::new(
        GuestInfo::new(machine)
            .vmcoreinfo(VmcoreinfoSource::None)
            .cpus(cpus.iter().cloned()),
        Format::Elf,
    );
    let mut sink = FaultySink::slow_stream();
    match dump(&memory, &mut sink, &options) {
        Ok(_) => {}
        Err(Error::Refused(Refusal::NotesTooLarge { .. })) => return,
        Err(error) => panic!("{error}"),
    }
    let vmcore = Vmcore::open(sink.into_bytes()).unwrap();
    let again = machine.decode_notes(vmcore.notes());
    assert_eq!(again, cpus);
}
