//! The map file with its registers.

use guestdump::memory::validate_ranges;
use guestdump::{CpuState, Machine};

use super::allocator::bounded;

// The command's own, which no other crate can name.
#[allow(dead_code)]
#[path = "../../src/bin/guestdump/map_file.rs"]
mod map_file;
#[path = "../../src/bin/guestdump/map_size.rs"]
mod map_size;
#[path = "../../src/bin/guestdump/number.rs"]
mod number;

/// The first byte chooses a machine that the command line names, if any.
pub fn map(input: &[u8]) {
    let Some((&machine, json)) = input.split_first() else {
        return;
    };
    let machine = Machine::ALL.get(usize::from(machine)).copied();
    // Registers of a CPU, boxed, are larger than `{}`, and there are vector
    // registers of 8 KiB.
    bounded((1 << 20) + 1024 * json.len(), || {
        match map_file::parse(json, machine) {
            Ok(map) => {
                let ranges: Vec<_> = map.regions.iter().map(|(range, _)| *range).collect();
                validate_ranges(&ranges).unwrap();
                assert!(machine.is_none() || map.machine == machine);
                let machine = map.machine.unwrap_or(Machine::X86_64);
                assert!(map.cpus.iter().all(|registers| registers.fit(machine)));
                registers_as_json(machine, &map.cpus);
            }
            Err(why) => assert!(!why.is_empty()),
        }
    });
}

/// What is said about registers in JSON is what was meant.
fn registers_as_json(machine: Machine, cpus: &[CpuState]) {
    for registers in cpus {
        let json = serde_json::to_string(registers).unwrap();
        let mut reader = serde_json::Deserializer::from_str(&json);
        let again = CpuState::deserialize_for(machine, &mut reader).unwrap();
        assert_eq!(&again, registers);
    }
}
