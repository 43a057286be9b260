//! Finds KDBG in the kernel's image, and decodes it.
//!
//! A plain block contains its tag, then its size, then the kernel's base. The
//! block of a 32-bit kernel is always plain (volatility
//! `overlays/windows/win8_kdbg.py`: only 64-bit blocks are encoded). From
//! Windows 8 on, a 64-bit kernel that was started without a debugger encodes
//! the block, word by word, until it crashes:
//!
//! ```text
//! e = never ^ ror(flag ^ bswap(always ^ word), never % 64)
//! ```
//!
//! `never` and `always` are the random numbers `KiWaitNever` and
//! `KiWaitAlways`, `flag` is the address of `KdpDataBlockEncoded` (volatility
//! `overlays/windows/win8_kdbg.py`, QEMU `contrib/elf2dmp/main.c`). Those tools
//! find the three values by disassembling `KdCopyDataBlock`, or by the kernel's
//! symbols. This module needs neither, because all words of a block have the
//! same key and the same rotation:
//!
//! ```text
//! e = ror(bswap(word), r) ^ key
//! ```
//!
//! The key cancels out of two words: `bswap(rol(e1 ^ e2, r))` is `word1 ^
//! word2`. One word is known, the kernel's base. The word before it contains
//! the tag, which is known as well. One of 64 rotations yields the tag, and
//! then the base yields the key.
#![forbid(unsafe_code)]

use zerocopy::{FromBytes, IntoBytes};

use crate::guest::windows::discover::format::{KDBG_SIZES, KDBG_TAG, Kdbg, ListEntry, ListEntry32};
use crate::guest::windows::discover::kernel::Kernel;
use crate::guest::windows::discover::memory::VirtualMemory;
use crate::guest::windows::discover::width::Width;
use crate::memory::MIN_PAGE_SIZE;

/// Offsets in the block of the words by which it is found.
const TAG_WORD: u64 = 0x10;
const SIZE: u64 = 0x14;
const PAGE: usize = MIN_PAGE_SIZE as usize;
/// Bytes that the search compares at once: the tag's word and the base's word.
const WINDOW: usize = 16;

/// Number of bits in which the possible sizes of a block differ.
const SIZE_BITS: u32 = 9;

/// KDBG and its address.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Guest-virtual address of the block.
    pub(crate) vaddr: u64,
    pub(crate) kdbg: Kdbg,
    /// The whole block, decoded, if the guest has it encoded.
    pub(crate) decoded: Option<Vec<u8>>,
}

/// The encoding of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Code {
    rotation: u32,
    key: u64,
}

impl Code {
    const PLAIN: Option<Self> = None;

    fn decode(self, word: u64) -> u64 {
        (word ^ self.key).rotate_left(self.rotation).swap_bytes()
    }

    /// Finds the encoding of a block from its words with the tag and with the
    /// kernel's base. It returns `None` if they are not from an encoded block.
    fn find(tag_word: u64, base_word: u64, base: u64) -> Option<Self> {
        let difference = tag_word ^ base_word;
        // Neither rotation nor byte order changes the number of set bits.
        let tag = u64::from(u32::from_le_bytes(KDBG_TAG));
        let expected = (tag ^ base).count_ones();
        if difference.count_ones().abs_diff(expected) > SIZE_BITS {
            return None;
        }
        let rotation = (0..u64::BITS).find(|r| {
            let word = difference.rotate_left(*r).swap_bytes() ^ base;
            is_tag_word(word)
        })?;
        Some(Self::of(rotation, base_word, base))
    }

    /// Returns the encoding of a block in which `encoded` stands for `word`.
    const fn of(rotation: u32, encoded: u64, word: u64) -> Self {
        let key = encoded ^ word.swap_bytes().rotate_right(rotation);
        Self { rotation, key }
    }
}

/// Returns whether `word` may be the word with the tag and the size.
fn is_tag_word(word: u64) -> bool {
    let (tag, size) = (word as u32, (word >> 32) as u32);
    tag.to_le_bytes() == KDBG_TAG && is_size(size)
}

const fn is_size(size: u32) -> bool {
    *KDBG_SIZES.start() <= size && size <= *KDBG_SIZES.end() && size.is_multiple_of(8)
}

/// Returns whether `word` in a block is the kernel's base. In a 32-bit kernel's
/// block the upper half may be the sign.
const fn is_base(width: Width, word: u64, base: u64) -> bool {
    match width {
        Width::Bits32 => word as u32 as u64 == base && matches!((word >> 32) as u32, 0 | u32::MAX),
        Width::Bits64 => word == base,
    }
}

/// Finds the block in the image of `kernel`.
pub(crate) fn find(memory: &VirtualMemory<'_>, kernel: &Kernel) -> Option<Found> {
    let width = memory.width();
    let mut window = vec![0; WINDOW - 8 + PAGE];
    let end = kernel.base + kernel.size;
    for page in (kernel.base..end).step_by(PAGE) {
        if memory.work.is_used_up() {
            return None;
        }
        // The last word of the page before pairs with the first word of this
        // page.
        window.copy_within(PAGE.., 0);
        if memory.read(page, &mut window[WINDOW - 8..]).is_none() {
            window.fill(0);
            continue;
        }
        let words: &[[u8; 8]] = window.as_chunks().0;
        for (pair, at) in words.windows(2).zip((page - 8..).step_by(8)) {
            let [tag_word, base_word] = [pair[0], pair[1]].map(u64::from_le_bytes);
            let is_plain = is_base(width, base_word, kernel.base) && is_tag_word(tag_word);
            let code = match (is_plain, width) {
                (true, _) => Code::PLAIN,
                (false, Width::Bits32) => continue,
                (false, Width::Bits64) => match Code::find(tag_word, base_word, kernel.base) {
                    None => continue,
                    code => code,
                },
            };
            let Some(vaddr) = at.checked_sub(TAG_WORD) else {
                continue;
            };
            let found = read(memory, vaddr, code);
            if let Some(found) = found.filter(|f| is_block(memory, f, kernel.base)) {
                return Some(found);
            }
        }
    }
    None
}

/// Reads the plain block at `vaddr`, without checking its tag. It returns
/// `None` if the block cannot be read.
pub(crate) fn read_plain(memory: &VirtualMemory<'_>, vaddr: u64) -> Option<Kdbg> {
    Some(read(memory, vaddr, Code::PLAIN)?.kdbg)
}

/// Decodes the encoded block at `vaddr`, of a kernel whose list of modules is
/// at `modules`. The address of that list is the known word, and the decoded
/// tag confirms the encoding.
pub(crate) fn read_encoded(memory: &VirtualMemory<'_>, vaddr: u64, modules: u64) -> Option<Found> {
    let encoded: Kdbg = memory.read_struct(vaddr)?;
    let word = encoded.ps_loaded_module_list.get();
    (0..u64::BITS).find_map(|rotation| {
        let code = Code::of(rotation, word, modules);
        let found = read(memory, vaddr, Some(code))?;
        let base = found.kdbg.kern_base.get();
        is_block(memory, &found, base).then_some(found)
    })
}

/// Returns whether the block has the tag and a possible size.
pub(crate) fn is_tagged(kdbg: &Kdbg) -> bool {
    kdbg.owner_tag == KDBG_TAG && is_size(kdbg.size.get())
}

fn read(memory: &VirtualMemory<'_>, vaddr: u64, code: Option<Code>) -> Option<Found> {
    let decode = |bytes: &mut [u8]| {
        for bytes in bytes.as_chunks_mut::<8>().0 {
            let word = u64::from_le_bytes(*bytes);
            *bytes = code.map_or(word, |code| code.decode(word)).to_le_bytes();
        }
    };
    // The rest after a smaller block stays zero.
    let mut bytes = vec![0; size_of::<Kdbg>()];
    let len = match code {
        Code::PLAIN => plain_len(memory, vaddr)?.min(bytes.len()),
        Some(_) => bytes.len(),
    };
    memory.read(vaddr, &mut bytes[..len])?;
    decode(&mut bytes);
    let mut kdbg = Kdbg::read_from_bytes(&bytes).ok()?;
    if memory.width() == Width::Bits32 {
        narrow(&mut kdbg);
    }
    let mut decoded = None;
    if code.is_some() && is_tagged(&kdbg) {
        bytes.resize(kdbg.size.get() as usize, 0);
        memory.read(vaddr, &mut bytes)?;
        decode(&mut bytes);
        decoded = Some(bytes);
    }
    Some(Found {
        vaddr,
        kdbg,
        decoded,
    })
}

/// Returns the size of a plain block in bytes. If its own size is impossible,
/// it returns the largest possible size.
fn plain_len(memory: &VirtualMemory<'_>, vaddr: u64) -> Option<usize> {
    let size = memory.read_u32(vaddr.checked_add(SIZE)?)?;
    let known = Some(size).filter(|size| is_size(*size));
    Some(known.unwrap_or(*KDBG_SIZES.end()) as usize)
}

/// Turns the words of a 32-bit kernel's block into addresses. It takes the
/// lower halves of the words, and two links from the first one.
fn narrow(kdbg: &mut Kdbg) {
    if let Ok((list, _)) = ListEntry32::read_from_prefix(kdbg.list.as_bytes()) {
        kdbg.list = list.into();
    }
    for address in [
        &mut kdbg.kern_base,
        &mut kdbg.ps_loaded_module_list,
        &mut kdbg.ps_active_process_head,
        &mut kdbg.ki_bugcheck_data,
        &mut kdbg.mm_pfn_database,
        &mut kdbg.ki_processor_block,
        &mut kdbg.mm_physical_memory_block,
    ] {
        *address = u64::from(address.get() as u32).into();
    }
}

/// Returns whether this is the block, by its tag and its base. Its neighbours
/// in the list of blocks must also point back to it.
fn is_block(memory: &VirtualMemory<'_>, found: &Found, base: u64) -> bool {
    let kdbg = &found.kdbg;
    let entry = |vaddr: u64| -> Option<ListEntry> { memory.read_list_entry(vaddr) };
    is_tagged(kdbg)
        && kdbg.kern_base.get() == base
        && entry(kdbg.list.flink.get()).is_some_and(|next| next.blink.get() == found.vaddr)
        && entry(kdbg.list.blink.get()).is_some_and(|last| last.flink.get() == found.vaddr)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Encodes a word as the kernel does it.
    fn encode(word: u64, never: u64, always: u64, flag: u64) -> u64 {
        let rotation = (never % 64) as u32;
        ((word ^ always).swap_bytes() ^ flag).rotate_right(rotation) ^ never
    }

    #[test]
    fn word_is_encoded_as_by_the_kernel() {
        // By hand: always ^ word is 0x…ff, its reversed bytes are 0xff00…, and
        // the rotation right by four bits gives 0x0ff0….
        assert_eq!(encode(0xff, 4, 0, 0), 0x0ff0_0000_0000_0000 ^ 4,);
    }

    proptest! {
        #[test]
        fn the_key_falls_out_of_two_words(
            never: u64,
            always: u64,
            flag in 0xffff_f800_0000_0000u64..,
            base in 0xffff_f800_0000u64..0xffff_f810_0000,
            size in 0x68u64..0x100,
            words: [u64; 4],
        ) {
            let base = base << 12 | 0xffff << 48;
            let tag = u64::from(u32::from_le_bytes(*b"KDBG")) | (size * 8) << 32;
            let e = |word| encode(word, never, always, flag);
            let code = Code::find(e(tag), e(base), base).unwrap();
            for word in words.into_iter().chain([tag, base]) {
                prop_assert_eq!(code.decode(e(word)), word);
            }
        }

        #[test]
        fn other_words_are_no_block(a: u64, b: u64) {
            prop_assert_eq!(Code::find(a, b, 0xffff_f802_4f60_0000), None);
        }
    }
}
