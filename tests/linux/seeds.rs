//! Seeds of the fuzz targets that look at a Linux guest's kernel; see
//! `fuzz/src/linux.rs`.

use std::fs;
use std::path::Path;

use guestdump::Machine;
use testkit::pieces;

use super::guest::Guest;
use super::pages::{KINDS, eventful};
use super::ring::{MACHINES, Ring};
use super::{records, ring};

/// Renews them.
#[test]
#[ignore = "writes to the repository: fuzz/seeds"]
fn write_seeds() {
    for machine in MACHINES {
        let mut ring = Ring::new(machine);
        for n in 0..9u64 {
            let text = format!("record {n}\nof many");
            ring.write(ring::FINALIZED, n * 1_000_000_007, text.as_bytes(), false);
        }
        write("linux_log", &format!("ring-{machine}"), 0, &ring.guest);
        let guest = records::wrapped(machine);
        write("linux_log", &format!("records-{machine}"), 0, &guest);
    }
    for (n, kind) in KINDS.into_iter().enumerate() {
        let mut kern = eventful(kind);
        kern.forget_plain();
        // Every level and layout of memory is among them.
        let choice = (31 ^ (n as u8 * 2)) | ((n as u8 % 4) << 5) | ((n as u8 & 1) << 7);
        write("linux_pages", &format!("kind-{n}"), choice, &kern.guest);
    }
}

fn write(target: &str, name: &str, choice: u8, guest: &Guest) {
    let all = Machine::ALL.iter();
    let machine = all.take_while(|m| **m != guest.machine).count() as u8;
    let len = (guest.info.len() as u16).to_le_bytes();
    let mut bytes = vec![machine, choice, 0, len[0], len[1]];
    bytes.extend(guest.info.as_bytes());
    bytes.extend(pieces::encode(&pieces::of_bytes(&guest.ram)));
    assert!(bytes.len() < 32 << 10, "{name} has {}", bytes.len());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    fs::create_dir_all(folder.join(target)).unwrap();
    fs::write(folder.join(target).join(name), bytes).unwrap();
}
