//! Parts of dumps that builders and tests share.

use guestdump::abi::{Abi, U64Align};
use guestdump::elf::Note;
use guestdump::{ByteOrder, Class, Encoding, Format};

/// The formats of Linux guests, whose notes and VMCOREINFO are in the dump.
pub fn linux_formats() -> impl Iterator<Item = Format> {
    Format::available().filter(|format| !format.is_windows())
}

/// VMCOREINFO's text in the notes of these dumps.
pub const TEXT: &[u8] = b"OSRELEASE=6.1.0\nPAGESIZE=4096\nNUMBER(phys_base)=4096\n";

/// 64-bit words, little-endian.
pub const LE64: Encoding = Encoding {
    class: Class::Bits64,
    order: ByteOrder::Little,
};

/// The ABI of [`LE64`], with each integer aligned to its size.
pub const LE64_ABI: Abi = Abi::aligned(LE64);

/// The three layouts of kdump's headers.
pub const LAYOUTS: [(Class, U64Align); 3] = [
    (Class::Bits32, U64Align::Four),
    (Class::Bits32, U64Align::Eight),
    (Class::Bits64, U64Align::Eight),
];

/// Every word size in every byte order.
pub fn encodings() -> impl Iterator<Item = Encoding> {
    [Class::Bits32, Class::Bits64]
        .into_iter()
        .flat_map(|class| {
            [ByteOrder::Little, ByteOrder::Big].map(|order| Encoding { class, order })
        })
}

/// `len` bytes that differ from page to page.
pub fn content(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i / 7) as u8 ^ seed ^ (i >> 9) as u8)
        .collect()
}

/// Notes of `cpus` CPUs, and VMCOREINFO with [`TEXT`].
pub fn notes(order: ByteOrder, cpus: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let prstatus = Note {
        name: b"CORE",
        kind: 1,
        desc: &[7; 336],
    };
    (0..cpus).for_each(|_| prstatus.encode(order, &mut bytes).unwrap());
    let info = Note {
        name: b"VMCOREINFO",
        kind: 0,
        desc: TEXT,
    };
    info.encode(order, &mut bytes).unwrap();
    bytes
}
