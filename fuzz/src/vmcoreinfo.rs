//! VMCOREINFO: the text, and the search for it in guest memory.

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::read::Vmcore;
use guestdump::vmcoreinfo::{MAX_SIZE, Vmcoreinfo};
use guestdump::{DumpOptions, Error, Fault, Format, GuestInfo, Machine, dump};
use testkit::FaultySink;
use testkit::pieces;

use super::allocator::bounded;
use super::ram::Ram;

/// The first byte chooses machine and format.
pub fn text(input: &[u8]) {
    let Some((&choice, text)) = input.split_first() else {
        return;
    };
    let machines = Machine::ALL;
    let machine = machines[usize::from(choice & 0x7f) % machines.len()];
    let format = if choice >= 0x80 {
        Format::Elf
    } else {
        Format::KDUMP_SNAPPY
    };
    bounded((6 << 20) + 16 * text.len(), || {
        look_up(machine, format, text)
    });
}

fn look_up(machine: Machine, format: Format, text: &[u8]) {
    if let Ok(info) = Vmcoreinfo::parse(text) {
        assert!(info.text().len() <= MAX_SIZE && text.starts_with(info.text()));
        assert!(!info.osrelease().chars().any(char::is_control));
        assert_eq!(Vmcoreinfo::parse(info.text()).unwrap(), info);
        let _ = (info.page_size(), info.crash_time());
        let _ = (info.kernel_offset(), info.kernel_offset_phys());
        for name in [
            "init_uts_ns",
            "swapper_pg_dir",
            "phys_base",
            "PHYS_OFFSET",
            "page",
        ] {
            let _ = (info.symbol(name), info.number(name));
            let _ = (info.size(name), info.offset(name), info.length(name));
        }
        for machine in Machine::ALL {
            let _ = machine.phys_base(&info);
            for vaddr in [0, 0xc000_0000, 0xffff_8000_0000_0000, u64::MAX] {
                let _ = machine.kernel_image_to_physical(vaddr, &info);
            }
        }
    }
    // All that a dump does with it, and it comes back as it was.
    let ram = Ram::new(0, 128 << 10, &[]);
    let options = DumpOptions::new(
        GuestInfo::new(machine).vmcoreinfo(VmcoreinfoSource::Bytes(text.to_vec())),
        format,
    );
    let mut sink = FaultySink::slow_stream();
    match dump(&ram, &mut sink, &options) {
        Ok(summary) => {
            let vmcore = Vmcore::open(sink.into_bytes()).unwrap();
            assert_eq!(vmcore.vmcoreinfo(), summary.vmcoreinfo.map(|v| v.info));
        }
        Err(error) => assert!(error.is_refusal() && sink.is_empty(), "{error}"),
    }
}

/// RAM of the guest that is searched.
const SIZE: usize = 1 << 20;

/// The first bytes are machine, kind of source, and 16 that say where it is;
/// pieces of memory follow.
pub fn scan(input: &[u8]) {
    let Some((&[machine, kind, ref place @ ..], rest)) = input.split_first_chunk::<18>() else {
        return;
    };
    let machine = Machine::ALL[usize::from(machine) % Machine::ALL.len()];
    let place: &[u8; 16] = place;
    let [low, high] = [0, 8].map(|at| u64::from_le_bytes(place[at..at + 8].try_into().unwrap()));
    let source = match kind % 4 {
        0 => VmcoreinfoSource::Scan,
        1 => VmcoreinfoSource::FwCfg(*place),
        2 => VmcoreinfoSource::FwCfgOrScan(*place),
        _ => VmcoreinfoSource::NoteAt {
            gpa: low,
            size: high,
        },
    };
    let start = if kind & 0x80 == 0 { 0 } else { 1 << 30 };
    let ram = Ram::new(start, SIZE, &pieces::decode(rest));
    let options = DumpOptions::new(GuestInfo::new(machine).vmcoreinfo(source), Format::Elf);
    // 64 finds of 64 KiB at most are kept.
    bounded(12 << 20, || {
        match dump(&ram, &mut FaultySink::full_stream(), &options) {
            Ok(_) => panic!("the sink takes nothing"),
            Err(Error::Failed(Fault::Write { .. })) => {}
            Err(error) => assert!(error.is_refusal(), "{error}"),
        }
    });
}
