//! Logs of kernels before 3.11: `struct log`, and before 3.5 a ring of text.

use guestdump::Machine;
use guestdump::guest::linux::KernelError;

use crate::guest::Guest;

const VARIABLES: u64 = 0x1000;
const LEN: u64 = 256;
const BUF: u64 = 0x2000;

const MACHINES: [Machine; 4] = [
    Machine::Ppc64le,
    Machine::Ppc64,
    Machine::X86_64,
    Machine::Arm,
];

/// A guest with these variables, 8 bytes apart, of which the first is `log_buf`.
fn guest(machine: Machine, variables: &[(&str, u64)]) -> Guest {
    let mut guest = Guest::new(machine, 0x8000);
    guest.put_word(VARIABLES, guest.vaddr(BUF));
    guest.line(format_args!("SYMBOL(log_buf)={:x}", guest.vaddr(VARIABLES)));
    for (at, (name, value)) in (VARIABLES + 8..).step_by(8).zip(variables) {
        guest.put(at, 4, *value);
        guest.line(format_args!("SYMBOL({name})={:x}", guest.vaddr(at)));
    }
    guest
}

/// A guest whose kernel has written `text`, character by character.
fn plain(machine: Machine, text: &str) -> Guest {
    let end = text.len() as u64;
    let mut guest = guest(
        machine,
        &[
            ("log_buf_len", LEN),
            ("log_end", end),
            ("logged_chars", end.min(LEN)),
        ],
    );
    for (number, byte) in (0..).zip(text.bytes()) {
        guest.put(BUF + number % LEN, 1, byte.into());
    }
    guest
}

#[test]
fn records_of_struct_log() {
    for machine in MACHINES {
        let mut guest = guest(
            machine,
            &[
                ("log_buf_len", LEN),
                ("log_first_idx", 40),
                ("log_next_idx", 24),
            ],
        );
        guest.line("SIZE(log)=16\nOFFSET(log.ts_nsec)=0\nOFFSET(log.len)=8");
        guest.line("OFFSET(log.text_len)=10\nOFFSET(log.dict_len)=12");
        for (at, text) in [(40, "first"), (0, "second")] {
            guest.put(BUF + at, 8, 1_500_000_000);
            guest.put(BUF + at + 8, 2, 24);
            guest.put(BUF + at + 10, 2, text.len() as u64);
            for (at, byte) in (BUF + at + 16..).zip(text.bytes()) {
                guest.put(at, 1, byte.into());
            }
        }
        // After the first one a record of length 0: the log goes on at 0.
        assert_eq!(guest.texts(), ["first", "second"], "{machine}");
        let log = guest.log().unwrap();
        assert_eq!(log[1].to_string(), "[    1.500000] second");
    }
}

#[test]
fn lines_of_text() {
    for machine in MACHINES {
        let text = "<6>[    0.000000] Linux version 2.6.32\n<4>two\nlines\tand \x1b[31m\nno end";
        let guest = plain(machine, text);
        let log = guest.log().unwrap();
        let printed: Vec<_> = log.iter().map(ToString::to_string).collect();
        assert_eq!(
            printed.join("\n"),
            text.replace('\x1b', "\\x1b"),
            "{machine}"
        );
        assert_eq!(plain(machine, "").texts(), [""; 0]);
        assert_eq!(plain(machine, "\n\na\n").texts(), ["", "", "a"]);
    }
}

#[test]
fn text_that_has_wrapped_begins_with_the_oldest_character() {
    for machine in MACHINES {
        let lines: Vec<_> = (0..100).map(|n| format!("<6>line {n}")).collect();
        let text = lines.join("\n") + "\n";
        let kept = &text[text.len() - LEN as usize..];
        let expected: Vec<_> = kept.lines().collect();
        assert_eq!(plain(machine, &text).texts(), expected, "{machine}");
        // Exactly full, and one more.
        for len in [LEN as usize, LEN as usize + 1] {
            let text = "x".repeat(len);
            let expected = ["x".repeat(LEN as usize)];
            assert_eq!(plain(machine, &text).texts(), expected);
        }
    }
}

#[test]
fn cleared_and_overflowing_counts() {
    // After `dmesg -c` the text is still in the ring.
    let mut cleared = plain(Machine::Ppc64le, "one\ntwo\n");
    cleared.put(VARIABLES + 24, 4, 0);
    assert_eq!(cleared.texts(), ["one", "two"]);
    // The number of the last character began again at 0; the ring is full.
    let text: String = (0..LEN / 4).map(|n| format!("{n:03}\n")).collect();
    let mut overflown = plain(Machine::Ppc64le, &text);
    overflown.put(VARIABLES + 16, 4, 8);
    let texts = overflown.texts();
    assert_eq!((texts.len(), &*texts[0]), (64, "002"));
    assert_eq!(texts[63], "001");
}

#[test]
fn nonsense_is_refused_and_long_text_is_split() {
    for len in [0, 3, 1 << 20, 0xffff_ffff] {
        let mut guest = plain(Machine::Ppc64le, "text\n");
        guest.put(VARIABLES + 8, 4, len);
        let error = guest.log().unwrap_err();
        assert!(matches!(error, KernelError::Damaged { .. }), "{error}");
    }
    let mut guest = guest(
        Machine::Ppc64le,
        &[("log_buf_len", 1 << 18), ("log_end", u64::from(u32::MAX))],
    );
    guest.ram.resize(1 << 19, b'x');
    let lens: Vec<_> = guest.texts().iter().map(String::len).collect();
    assert_eq!(lens, [65536; 4]);
    // The ring is not all RAM.
    guest.put_word(VARIABLES, guest.vaddr(0x6_0000));
    let error = guest.log().unwrap_err();
    assert!(matches!(
        error,
        KernelError::Unmapped { .. } | KernelError::Read { .. }
    ));
}
