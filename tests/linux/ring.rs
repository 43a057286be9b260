//! The log of Linux 5.10 and later.

use std::sync::atomic::Ordering;
use std::time::Duration;

use guestdump::Machine;
use guestdump::guest::linux::KernelError;

use super::guest::Guest;

const PRB: u64 = 0x100;
const RING: u64 = 0x200;
const DESCS: u64 = 0x1000;
const INFOS: u64 = 0x2000;
const TEXT: u64 = 0x4000;
const COUNT_BITS: u32 = 3;
const TEXT_BITS: u32 = 8;

const RESERVED: u64 = 0;
const COMMITTED: u64 = 1;
pub(crate) const FINALIZED: u64 = 2;
const REUSABLE: u64 = 3;

/// A guest with an empty ring of 8 records and 256 bytes, laid out as Linux
/// does, by the size of its words.
pub(crate) struct Ring {
    pub(crate) guest: Guest,
    /// Number of the next record, and logical position of its text.
    id: u64,
    position: u64,
}

impl Ring {
    pub(crate) fn new(machine: Machine) -> Self {
        let mut guest = Guest::new(machine, 0x8000);
        let w = guest.word_size();
        let info_ts = 8;
        let vaddr = guest.vaddr(PRB);
        for line in [
            format!("SYMBOL(prb)={vaddr:x}"),
            "OFFSET(printk_ringbuffer.desc_ring)=0".to_owned(),
            format!("OFFSET(printk_ringbuffer.text_data_ring)={}", 6 * w),
            "OFFSET(prb_desc_ring.count_bits)=0".to_owned(),
            format!("OFFSET(prb_desc_ring.descs)={w}"),
            format!("OFFSET(prb_desc_ring.infos)={}", 2 * w),
            format!("OFFSET(prb_desc_ring.head_id)={}", 3 * w),
            format!("OFFSET(prb_desc_ring.tail_id)={}", 4 * w),
            format!("SIZE(prb_desc)={}", 3 * w),
            "OFFSET(prb_desc.state_var)=0".to_owned(),
            format!("OFFSET(prb_desc.text_blk_lpos)={w}"),
            "OFFSET(prb_data_blk_lpos.begin)=0".to_owned(),
            format!("OFFSET(prb_data_blk_lpos.next)={w}"),
            "SIZE(printk_info)=88".to_owned(),
            format!("OFFSET(printk_info.ts_nsec)={info_ts}"),
            "OFFSET(printk_info.text_len)=16".to_owned(),
            "OFFSET(prb_data_ring.size_bits)=0".to_owned(),
            format!("OFFSET(prb_data_ring.data)={w}"),
            "OFFSET(atomic_long_t.counter)=0".to_owned(),
        ] {
            guest.line(line);
        }
        let (ring, descs, infos, text) = (
            guest.vaddr(RING),
            guest.vaddr(DESCS),
            guest.vaddr(INFOS),
            guest.vaddr(TEXT),
        );
        guest.put_word(PRB, ring);
        guest.put(RING, 4, COUNT_BITS.into());
        guest.put_word(RING + w, descs);
        guest.put_word(RING + 2 * w, infos);
        guest.put(RING + 6 * w, 4, TEXT_BITS.into());
        guest.put_word(RING + 7 * w, text);
        // As Linux begins, so that both overflow soon.
        let mut ring = Self {
            guest,
            id: 0,
            position: 0,
        };
        let mask = ring.id_mask();
        let last = (1u64 << COUNT_BITS) - 1;
        ring.set_ids(
            0u64.wrapping_sub((1 << COUNT_BITS) + 1) & mask,
            0u64.wrapping_sub((1 << COUNT_BITS) + 1) & mask,
        );
        ring.put_desc(
            0u64.wrapping_sub((1 << COUNT_BITS) + 1) & mask,
            REUSABLE,
            (1, 1),
        );
        assert_eq!(0u64.wrapping_sub((1 << COUNT_BITS) + 1) & last, last);
        ring.id = 0u64.wrapping_sub(1 << COUNT_BITS) & mask;
        ring.position = 0u64.wrapping_sub(1 << TEXT_BITS) & ring.word_mask();
        ring
    }

    fn word_mask(&self) -> u64 {
        u64::MAX >> (64 - 8 * self.guest.word_size())
    }

    fn id_mask(&self) -> u64 {
        self.word_mask() >> 2
    }

    fn set_ids(&mut self, tail: u64, head: u64) {
        let w = self.guest.word_size();
        self.guest.put_word(RING + 3 * w, head);
        self.guest.put_word(RING + 4 * w, tail);
    }

    fn put_desc(&mut self, id: u64, state: u64, (begin, next): (u64, u64)) {
        let w = self.guest.word_size();
        let at = DESCS + (id & 7) * 3 * w;
        self.guest.put_word(at, id | state << (8 * w - 2));
        self.guest.put_word(at + w, begin);
        self.guest.put_word(at + 2 * w, next);
    }

    fn put_info(&mut self, id: u64, nanoseconds: u64, len: usize) {
        let at = INFOS + (id & 7) * 88;
        self.guest.put(at + 8, 8, nanoseconds);
        self.guest.put(at + 16, 2, len as u64);
    }

    /// Writes a record as Linux does. `exact_fit`: as Linux 6.18 does.
    pub(crate) fn write(&mut self, state: u64, nanoseconds: u64, text: &[u8], exact_fit: bool) {
        let w = self.guest.word_size();
        let size = (w + text.len() as u64).next_multiple_of(w);
        let ring = 1u64 << TEXT_BITS;
        let begin = self.position;
        let index = begin % ring;
        let fits = index + size < ring || exact_fit && index + size == ring;
        let (at, next) = if fits {
            (index, begin.wrapping_add(size))
        } else {
            (0, (begin - index).wrapping_add(ring + size))
        };
        let next = next & self.word_mask();
        let id = self.id;
        self.put_desc(id, state, (begin, next));
        self.put_info(id, nanoseconds, text.len());
        self.guest.put_word(TEXT + at, id);
        let bytes = (TEXT + at + w) as usize;
        self.guest.ram[bytes..bytes + text.len()].copy_from_slice(text);
        self.position = next;
        self.id = (id + 1) & self.id_mask();
        let first = id.wrapping_sub(6) & self.id_mask();
        self.set_ids(first, id);
    }
}

/// 64-bit words of both orders, 32-bit ones, and page tables.
pub(crate) const MACHINES: [Machine; 4] = [
    Machine::Ppc64,
    Machine::Ppc64le,
    Machine::Arm,
    Machine::X86_64,
];

#[test]
fn an_empty_ring_has_no_records() {
    for machine in MACHINES {
        assert_eq!(Ring::new(machine).guest.texts(), [""; 0], "{machine}");
    }
}

#[test]
fn records_come_oldest_first_and_wrap() {
    for machine in MACHINES {
        let mut ring = Ring::new(machine);
        for n in 0..40u64 {
            let text = format!("record {n} {}", "x".repeat(n as usize % 9));
            ring.write(FINALIZED, n * 1_000_000_007, text.as_bytes(), false);
            let log = ring.guest.log().unwrap();
            let expected = n.saturating_sub(6)..=n;
            assert_eq!(log.len() as u64, n.min(6) + 1, "{machine}");
            for (record, n) in log.iter().zip(expected) {
                let text = format!("record {n} {}", "x".repeat(n as usize % 9));
                assert_eq!(record.text, text.as_bytes(), "{machine}");
                assert_eq!(record.time, Duration::from_nanos(n * 1_000_000_007));
            }
        }
    }
}

#[test]
fn a_block_that_fits_exactly_lies_where_that_kernel_puts_it() {
    for machine in MACHINES {
        for exact_fit in [false, true] {
            let mut ring = Ring::new(machine);
            let w = ring.guest.word_size();
            // 256 bytes in all.
            ring.write(FINALIZED, 1, &vec![b'a'; (128 - w) as usize], exact_fit);
            ring.write(FINALIZED, 2, &vec![b'b'; (128 - w) as usize], exact_fit);
            let texts = ring.guest.texts();
            let last = texts.last().unwrap();
            assert_eq!(*last, "b".repeat((128 - w) as usize), "{machine}");
        }
    }
}

#[test]
fn only_complete_records_count() {
    for machine in MACHINES {
        let mut ring = Ring::new(machine);
        ring.write(FINALIZED, 1, b"finalized", false);
        ring.write(RESERVED, 2, b"being written", false);
        ring.write(COMMITTED, 3, b"committed", false);
        ring.write(REUSABLE, 4, b"gone", false);
        ring.write(FINALIZED, 5, b"overwritten", false);
        // The descriptor is another record's already.
        let other = ring.id.wrapping_sub(1 + 8) & ring.id_mask();
        ring.put_desc(other, FINALIZED, (0, 16));
        // No text: an empty line, and a text that was lost.
        ring.write(FINALIZED, 6, b"", false);
        let (empty, lost) = (ring.id.wrapping_sub(1), ring.id);
        ring.put_desc(empty & ring.id_mask(), FINALIZED, (3, 3));
        ring.write(FINALIZED, 7, b"lost", false);
        ring.put_desc(lost, FINALIZED, (1, 1));
        assert_eq!(
            ring.guest.texts(),
            ["finalized", "committed", ""],
            "{machine}"
        );
    }
}

#[test]
fn a_hostile_ring_costs_no_more_than_it_holds() {
    let mut ring = Ring::new(Machine::Ppc64le);
    let mask = ring.id_mask();
    // Head and tail are far apart: what the array has is looked at, once.
    for n in 0..8u64 {
        ring.put_desc(n, FINALIZED, (0, 240));
        ring.put_info(n, 0, 65535);
    }
    ring.set_ids(7u64.wrapping_sub(mask / 2) & mask, 7);
    // Each claims nearly the whole ring.
    assert!(matches!(ring.guest.log(), Err(KernelError::Damaged { .. })));
    assert!(ring.guest.bytes.load(Ordering::Relaxed) < 2000);

    // Positions that are nonsense.
    let mut ring = Ring::new(Machine::Ppc64le);
    for (n, positions) in [(5, 3), (u64::MAX, 8), (8, 8 + (1 << 40)), (16, 8), (0, 0)]
        .into_iter()
        .enumerate()
    {
        ring.put_desc(n as u64, FINALIZED, positions);
        ring.put_info(n as u64, 0, 10);
    }
    ring.set_ids(0, 4);
    assert_eq!(ring.guest.texts(), [""; 0]);

    // Elements as large as all memory.
    let mut ring = Ring::new(Machine::Ppc64le);
    for n in 0..8u64 {
        ring.put_desc(n, FINALIZED, (3, 3));
    }
    ring.set_ids(0, 7);
    let info = &mut ring.guest.info;
    *info = info.replace("SIZE(prb_desc)=24", "SIZE(prb_desc)=18446744073709551608");
    *info = info.replace(
        "SIZE(printk_info)=88",
        "SIZE(printk_info)=9223372036854775807",
    );
    assert!(ring.guest.log().map_or(0, |log| log.len()) <= 8);

    // More records than RAM can hold: the same again and again, or not.
    for size in [0, 1, 23, 24, u64::MAX] {
        let mut ring = Ring::new(Machine::Ppc64le);
        ring.set_ids(0, (1 << 26) - 1);
        ring.guest.put(RING, 4, 26);
        let info = &mut ring.guest.info;
        *info = info.replace("SIZE(prb_desc)=24", &format!("SIZE(prb_desc)={size}"));
        let error = ring.guest.log().unwrap_err();
        let KernelError::Damaged { why, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(why, &format!("2^26 times prb_desc of {size} bytes"));
        assert!(ring.guest.reads.load(Ordering::Relaxed) < 20);
    }

    // Sizes that are nonsense.
    let mut ring = Ring::new(Machine::Ppc64le);
    ring.guest.put(RING, 4, 27);
    assert!(matches!(ring.guest.log(), Err(KernelError::Damaged { .. })));
    ring.guest.put(RING, 4, 3);
    for bits in [32, 16] {
        ring.guest.put(RING + 48, 4, bits);
        assert!(matches!(ring.guest.log(), Err(KernelError::Damaged { .. })));
    }

    // Pointers out of RAM.
    let mut ring = Ring::new(Machine::Ppc64le);
    ring.write(FINALIZED, 0, b"text", false);
    let beyond = ring.guest.vaddr(0x10_0000);
    ring.guest.put_word(RING + 56, beyond);
    assert!(matches!(ring.guest.log(), Err(KernelError::Read { .. })));
    ring.guest.put_word(RING + 8, 0x1234);
    assert!(matches!(
        ring.guest.log(),
        Err(KernelError::Unmapped { .. })
    ));
}

#[test]
fn a_line_that_vmcoreinfo_lacks_is_named() {
    let mut ring = Ring::new(Machine::Ppc64le);
    ring.guest.info = ring
        .guest
        .info
        .replace("OFFSET(printk_info.ts_nsec)=8\n", "");
    let error = ring.guest.log().unwrap_err();
    let KernelError::Missing { what, osrelease } = &error else {
        panic!("{error}");
    };
    assert_eq!(what, "OFFSET(printk_info.ts_nsec)");
    assert_eq!(osrelease, "6.1.0-test");
}
