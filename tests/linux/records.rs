//! The log of kernels before 5.10.

use std::sync::atomic::Ordering;
use std::time::Duration;

use guestdump::Machine;
use guestdump::guest::linux::KernelError;

use super::guest::Guest;
use super::ring::MACHINES;

const VARIABLES: u64 = 0x100;
const BUF: u64 = 0x1000;
const LEN: u64 = 128;

/// `struct printk_log` as Linux 4.19 lays it out.
fn guest(machine: Machine) -> Guest {
    let mut guest = Guest::new(machine, 0x4000);
    for (n, name) in ["log_buf", "log_buf_len", "log_first_idx", "log_next_idx"]
        .iter()
        .enumerate()
    {
        let vaddr = guest.vaddr(VARIABLES + 8 * n as u64);
        guest.line(format_args!("SYMBOL({name})={vaddr:x}"));
    }
    for line in [
        "SIZE(printk_log)=16",
        "OFFSET(printk_log.ts_nsec)=0",
        "OFFSET(printk_log.len)=8",
        "OFFSET(printk_log.text_len)=10",
        "OFFSET(printk_log.dict_len)=12",
    ] {
        guest.line(line);
    }
    let buf = guest.vaddr(BUF);
    guest.put_word(VARIABLES, buf);
    guest.put(VARIABLES + 8, 4, LEN);
    guest
}

fn set_indexes(guest: &mut Guest, first: u64, next: u64) {
    guest.put(VARIABLES + 16, 4, first);
    guest.put(VARIABLES + 24, 4, next);
}

/// A record, with some bytes of a dictionary behind its text.
fn put(guest: &mut Guest, at: u64, nanoseconds: u64, text: &str) -> u64 {
    let len = (16 + text.len() as u64 + 3).next_multiple_of(4);
    guest.put(BUF + at, 8, nanoseconds);
    guest.put(BUF + at + 8, 2, len);
    guest.put(BUF + at + 10, 2, text.len() as u64);
    let bytes = (BUF + at + 16) as usize;
    guest.ram[bytes..bytes + text.len()].copy_from_slice(text.as_bytes());
    at + len
}

/// Three records, of which the last lies in front of the others.
pub(crate) fn wrapped(machine: Machine) -> Guest {
    let mut guest = guest(machine);
    let second = put(&mut guest, 40, 1_500_000_000, "first");
    let third = put(&mut guest, second, 2_000_000_000, "second");
    // What is left at the end is too small, as a record of length 0 says.
    guest.put(BUF + third + 8, 2, 0);
    let end = put(&mut guest, 0, 3_000_000_000, "third");
    set_indexes(&mut guest, 40, end);
    guest
}

#[test]
fn records_come_oldest_first_and_wrap() {
    for machine in MACHINES {
        assert_eq!(guest(machine).texts(), [""; 0]);
        let guest = wrapped(machine);
        assert_eq!(guest.texts(), ["first", "second", "third"]);
        let log = guest.log().unwrap();
        assert_eq!(log[0].time, Duration::from_millis(1500));
    }
}

#[test]
fn damaged_log_is_an_error() {
    let damaged = |guest: &Guest| matches!(guest.log(), Err(KernelError::Damaged { .. }));
    let fresh = || guest(Machine::Ppc64le);
    // A record in which the same follows again and again.
    let mut guest = fresh();
    let second = put(&mut guest, 0, 0, "first");
    guest.put(BUF + second + 8, 2, 0);
    set_indexes(&mut guest, 0, 100);
    assert!(damaged(&guest));
    // Longer than the ring, shorter than its text.
    for (len, text_len) in [(200, 1), (17, 2), (1, 0), (16, 65535)] {
        let mut guest = fresh();
        guest.put(BUF + 8, 2, len);
        guest.put(BUF + 10, 2, text_len);
        set_indexes(&mut guest, 0, 64);
        assert!(damaged(&guest), "{len} {text_len}");
    }
    // Records without any bytes, again and again, in a log larger than RAM.
    let mut guest = fresh();
    guest.info = guest
        .info
        .replace("SIZE(printk_log)=16", "SIZE(printk_log)=0");
    guest.put(VARIABLES + 8, 4, 1 << 31);
    guest.put(BUF + 8, 2, 1);
    set_indexes(&mut guest, 0, 1 << 30);
    assert!(damaged(&guest));
    assert!(guest.reads.load(Ordering::Relaxed) < 10);
    guest.put(VARIABLES + 8, 4, LEN);
    set_indexes(&mut guest, 0, 64);
    assert!(damaged(&guest));
    // The same of length 0.
    let mut guest = fresh();
    guest.info = guest
        .info
        .replace("SIZE(printk_log)=16", "SIZE(printk_log)=0");
    set_indexes(&mut guest, 0, 64);
    assert!(damaged(&guest));
    for (first, next) in [(LEN, 0), (0, LEN + 1), (u64::from(u32::MAX), 5)] {
        let mut guest = fresh();
        set_indexes(&mut guest, first, next);
        assert!(damaged(&guest), "{first} {next}");
    }
    let mut guest = fresh();
    guest.put(VARIABLES + 8, 4, 0xf000_0000);
    set_indexes(&mut guest, 0, 64);
    assert!(damaged(&guest));
}
