//! QEMU's dump commands as a monitor gets them.

use std::io;
use std::sync::Arc;

use guestdump::qapi::{
    Circumstances, Command, DumpGuestMemoryArguments, DumpService, EventMessage, Guest,
    GuestControl, Protocol, Reply, Rules, RunState, StatusInfo,
};
use guestdump::{CpuState, Machine};

use super::allocator::bounded;
use super::ram::Ram;

/// A guest that is being migrated: no dump begins, whatever the path.
struct Migrating;

impl GuestControl for Migrating {
    fn run_state(&self) -> RunState {
        RunState::Running
    }

    fn pause(&self) -> io::Result<bool> {
        panic!("a dump began")
    }

    fn resume(&self) {}
}

impl Guest for Migrating {
    type Memory = Ram;

    fn machine(&self) -> Machine {
        Machine::X86_64
    }

    fn is_migrating(&self) -> bool {
        true
    }

    fn memory(&self) -> io::Result<Ram> {
        panic!("a dump began")
    }

    fn registers(&self) -> io::Result<Vec<CpuState>> {
        panic!("a dump began")
    }
}

/// The first byte chooses the circumstances; JSON follows.
pub fn qmp(input: &[u8]) {
    let Some((&choice, json)) = input.split_first() else {
        return;
    };
    let Ok(json) = str::from_utf8(json) else {
        return;
    };
    bounded((1 << 20) + 256 * json.len(), || {
        dispatch(json);
        arguments(choice, json);
        wire_forms(json);
    });
}

fn dispatch(json: &str) {
    let service = DumpService::new(Arc::new(Migrating));
    let reply = service.dispatch(json, |_| None);
    assert!(reply.is_ascii() && !reply.contains(['\n', '\r']));
    let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
    assert!(reply.get("return").is_some() != reply.get("error").is_some());
    assert!(!service.is_active());
}

fn arguments(choice: u8, json: &str) {
    let Ok(members) = serde_json::from_str(json) else {
        return;
    };
    let Ok(arguments) = DumpGuestMemoryArguments::from_members(members) else {
        return;
    };
    let circumstances = Circumstances {
        run_state: RunState::Running,
        status: Default::default(),
        migrating: false,
        machine: Machine::ALL[usize::from(choice) % Machine::ALL.len()],
        rules: if choice < 0x80 {
            Rules::Qemu
        } else {
            Rules::Extended
        },
    };
    if let Ok(request) = arguments.check(&circumstances) {
        assert!(request.format.is_available() && request.format.is_for(circumstances.machine));
        assert!(request.filter.is_none_or(|(_, length)| length > 0));
        match request.protocol {
            Protocol::File(path) => assert!(!path.as_os_str().is_empty()),
            Protocol::Fd(name) => assert!(arguments.protocol.ends_with(&name)),
            _ => {}
        }
    }
}

/// Each message is the same once it has gone over the wire.
fn wire_forms(json: &str) {
    macro_rules! there_and_back {
        ($($Message:ty),*) => {$(
            if let Ok(message) = serde_json::from_str::<$Message>(json) {
                let text = message.to_string();
                assert!(text.is_ascii() && !text.contains('\n'));
                let again: $Message = serde_json::from_str(&text).unwrap();
                assert_eq!(again, message);
            }
        )*};
    }
    there_and_back!(Command, Reply, EventMessage);
    if let Ok(status) = serde_json::from_str::<StatusInfo>(json) {
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<StatusInfo>(&text).unwrap(), status);
    }
}
