//! Windows dumps by QEMU's commands.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use guestdump::guest::windows::{BugcheckData, ExtraState, WinDmpError};
use guestdump::qapi::{
    ArgumentsError, CommandError, DumpGuestMemoryArguments, DumpGuestMemoryCapability,
    DumpGuestMemoryFormat, DumpService, ExtensionFormat, FormatName, Guest, GuestControl,
    GuestPanicInformation, GuestPanicInformationHyperV, Rules, RunState,
};
use guestdump::read::{Headers, Vmcore};
use guestdump::{CpuState, DumpOptions, Error, Machine, Refusal};
use testkit::windows::{given, header_64};
use testkit::{Page, PageMemory};

use crate::vm::to;

/// A guest that stands still, and what its monitor knows of Windows in it.
struct Windows {
    machine: Machine,
    has_header: bool,
    panic: Option<GuestPanicInformation>,
    /// What the monitor says of the crash by itself.
    told: Option<[u64; 5]>,
}

const CRASH: GuestPanicInformationHyperV = GuestPanicInformationHyperV {
    arg1: 0xd1,
    arg2: 1,
    arg3: 2,
    arg4: 3,
    arg5: u64::MAX,
};

impl Windows {
    fn new() -> Self {
        Self {
            machine: Machine::X86_64,
            has_header: true,
            panic: None,
            told: None,
        }
    }
}

impl GuestControl for Windows {
    fn run_state(&self) -> RunState {
        RunState::GuestPanicked
    }
    fn pause(&self) -> io::Result<bool> {
        Ok(false)
    }
    fn resume(&self) {
        panic!("it did not run");
    }
}

impl Guest for Windows {
    type Memory = PageMemory;

    fn machine(&self) -> Machine {
        self.machine
    }
    fn memory(&self) -> io::Result<PageMemory> {
        let piece = |n: u8| (u64::from(n) << 20, vec![Page::Text(n); 4]);
        Ok(PageMemory::new((0..3).map(piece)))
    }
    fn registers(&self) -> io::Result<Vec<CpuState>> {
        Ok(Vec::new())
    }
    fn panic_information(&self) -> Option<GuestPanicInformation> {
        self.panic.clone()
    }
    fn adjust(&self, options: DumpOptions) -> DumpOptions {
        if !self.has_header {
            return options;
        }
        // The monitor's own word does not take the panic's away.
        let windows = given(&*header_64(0x1000)).extra_state([ExtraState::default()]);
        let windows = match self.told {
            Some(registers) => windows.crash_registers(registers),
            None => windows,
        };
        windows.instead(options)
    }
}

const FORMATS: [FormatName; 2] = [
    FormatName::Qemu(DumpGuestMemoryFormat::WinDmp),
    FormatName::Extension(ExtensionFormat::WinDmpBitmap),
];

fn in_format(format: FormatName, protocol: &str) -> DumpGuestMemoryArguments {
    DumpGuestMemoryArguments {
        format: Some(format),
        ..to(protocol)
    }
}

fn no_fd(_: &str) -> Option<OwnedFd> {
    None
}

/// The bug check in the dump of `guest`.
fn bugcheck(guest: Windows, format: FormatName) -> BugcheckData {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dmp");
    let service = DumpService::new(Arc::new(guest));
    let arguments = in_format(format, &format!("file:{}", path.display()));
    let summary = service.dump_guest_memory(&arguments, no_fd).unwrap();
    assert_eq!(summary.unwrap().format, format.format());
    let vmcore = Vmcore::open(File::open(path).unwrap()).unwrap();
    let Headers::WinDmp { header, .. } = vmcore.headers() else {
        panic!("another kind");
    };
    header.bugcheck()
}

#[test]
fn the_crash_registers_of_the_panic_are_in_the_dump() {
    for format in FORMATS {
        assert_eq!(bugcheck(Windows::new(), format), BugcheckData::LIVE);
        let panicked = || Windows {
            panic: Some(GuestPanicInformation::HyperV(CRASH)),
            ..Windows::new()
        };
        let expected = BugcheckData {
            code: 0xd1,
            parameters: [1, 2, 3, u64::MAX],
        };
        assert_eq!(bugcheck(panicked(), format), expected);
        let told = Windows {
            told: Some([0x1e, 9, 8, 7, 6]),
            ..panicked()
        };
        assert_eq!(bugcheck(told, format).code, 0x1e);
    }
}

#[test]
fn a_stream_is_enough() {
    for format in FORMATS {
        let (mut reader, writer) = io::pipe().unwrap();
        let reading = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let service = DumpService::new(Arc::new(Windows::new()));
        let mut fd = Some(OwnedFd::from(writer));
        let summary = service
            .dump_guest_memory(&in_format(format, "fd:pipe"), |_| fd.take())
            .unwrap();
        drop(service);
        let bytes = reading.join().unwrap();
        assert_eq!(bytes.len() as u64, summary.unwrap().file_size);
        assert_eq!(&bytes[..8], b"PAGEDU64");
    }
}

#[test]
fn only_x86_guests_have_windows_formats() {
    for &machine in Machine::ALL {
        let x86 = matches!(machine, Machine::X86_64 | Machine::I386);
        let listed = DumpGuestMemoryCapability::available(machine).formats;
        let win_dmp = DumpGuestMemoryFormat::WinDmp;
        assert_eq!(listed.contains(&win_dmp), x86, "{machine}");
        let service = DumpService::new(Arc::new(Windows {
            machine,
            ..Windows::new()
        }));
        let capability =
            service.dispatch(r#"{"execute":"query-dump-guest-memory-capability"}"#, no_fd);
        assert_eq!(capability.contains(r#""win-dmp""#), x86, "{machine}");
        assert!(!capability.contains("win-dmp-bitmap"));
        if x86 {
            continue;
        }
        for name in FORMATS {
            let error = service
                .dump_guest_memory(&in_format(name, "fd:x"), no_fd)
                .unwrap_err();
            let CommandError::Arguments(ArgumentsError::WinDmpUnavailable { format, machine: m }) =
                error
            else {
                panic!("{error}");
            };
            assert_eq!((format, m), (name.format(), machine));
        }
    }
}

#[test]
fn qemus_rules_know_win_dmp_without_paging_and_filter() {
    let service = DumpService::new(Arc::new(Windows::new())).rules(Rules::Qemu);
    let refused = |arguments: &DumpGuestMemoryArguments| {
        let error = service.dump_guest_memory(arguments, no_fd).unwrap_err();
        let CommandError::Arguments(error) = error else {
            panic!("{error}");
        };
        error
    };
    let [win_dmp, bitmap] = FORMATS.map(|format| in_format(format, "fd:x"));
    assert!(matches!(refused(&bitmap), ArgumentsError::UnknownFormat(_)));
    assert!(matches!(refused(&win_dmp), ArgumentsError::UnknownFd(_)));
    let paging = DumpGuestMemoryArguments {
        paging: true,
        ..win_dmp.clone()
    };
    assert!(matches!(
        refused(&paging),
        ArgumentsError::PagingNeedsElf { .. }
    ));
    let part = DumpGuestMemoryArguments {
        begin: Some(0),
        length: Some(4096),
        ..win_dmp
    };
    assert!(matches!(
        refused(&part),
        ArgumentsError::FilterNeedsElf { .. }
    ));
}

#[test]
fn a_guest_without_windows_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let protocol = format!("file:{}", folder.path().join("dmp").display());
    let service = DumpService::new(Arc::new(Windows {
        has_header: false,
        ..Windows::new()
    }));
    for format in FORMATS {
        let error = service
            .dump_guest_memory(&in_format(format, &protocol), no_fd)
            .unwrap_err();
        assert!(
            matches!(
                error,
                CommandError::Dump(Error::Refused(Refusal::WinDmp(WinDmpError::NoCpuRegisters)))
            ),
            "{error}"
        );
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
