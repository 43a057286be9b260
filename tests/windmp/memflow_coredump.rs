//! memflow's connector for dumps of 32-bit and 64-bit guests. It has room for
//! 32 runs of a full dump.

use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{GuestInfo, GuestMemory, Machine, dump};
use memflow::{Address, ConnectorArgs, PhysicalMemory};
use memflow_coredump::create_connector;
use testkit::PAGE;
use testkit::windows::Windows;
use testkit::windows::{given, header_32, header_64};

use super::{FORMATS, guest, pages};

#[track_caller]
fn check(guest: &dyn GuestMemory, windows: &Windows) {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dmp");
        let mut sink = FileSink::create(&path, FileSinkOptions::default()).unwrap();
        let options = windows
            .clone()
            .options(GuestInfo::new(Machine::X86_64), format);
        dump(guest, &mut sink, &options).unwrap();
        let args = ConnectorArgs::with_default(path.to_str().unwrap());
        let mut memory = create_connector(&args).unwrap();
        for (gpa, page) in pages(guest) {
            let mut found = vec![0xa5; PAGE as usize];
            let address = Address::from(gpa).into();
            memory.phys_read_raw_into(address, &mut found).unwrap();
            assert!(found == page, "{format} {gpa:#x}");
        }
    }
}

#[test]
fn memflow_reads_every_page_of_a_64_bit_guest() {
    check(&guest(), &given(&*header_64(0x1000)));
}

#[test]
fn memflow_reads_every_page_of_a_32_bit_guest() {
    let mut guest = guest();
    guest.ranges.pop();
    check(&guest, &given(&*header_32(0x1000)));
}

#[cfg(feature = "demo")]
#[test]
fn memflow_reads_every_page_of_the_windows_guests() {
    for kind in guestdump::demo::WindowsKind::ALL {
        let (guest, windows) = super::discover_support::built_header(kind);
        check(&guest, &windows);
    }
}
