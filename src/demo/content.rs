//! Pages of the synthetic guest that do not belong to its kernel: the kind of each, and its bytes.
//! Everything follows from the guest-physical address.
#![forbid(unsafe_code)]

use crate::demo::page_kind::PageKind;

/// Size in bytes of the extents in which memory is populated.
pub(super) const EXTENT: u64 = 1 << 20;
/// Size in bytes of the groups of neighbouring pages that are of one kind.
const GROUP: u64 = 32 << 10;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Computes the output function of SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns the numbers of SplitMix64 from `seed` on.
fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        let n = mix(seed);
        seed = seed.wrapping_add(GOLDEN);
        n
    }
}

/// Whether `extent` is populated. Three of four extents are.
pub(super) const fn is_populated(extent: u64) -> bool {
    !mix(!extent).is_multiple_of(4)
}

/// Returns the kind of a page in a populated extent. Together with the unpopulated extents, this
/// makes 40 % zeroes, 40 % text and tables, 20 % random bytes.
pub(super) const fn kind(page: u64) -> PageKind {
    match mix(page / GROUP) % 15 {
        0..3 => PageKind::Zero,
        3..7 => PageKind::Text,
        7..11 => PageKind::Table,
        _ => PageKind::Random,
    }
}

/// Fills `out`, at most a page, with the beginning of the page `page`. Pages of the kernel give
/// zeroes.
pub(super) fn fill(kind: PageKind, page: u64, out: &mut [u8]) {
    let seed = mix(page);
    match kind {
        PageKind::Unpopulated | PageKind::Zero | PageKind::Kernel => out.fill(0),
        PageKind::Text => text(seed, out),
        PageKind::Table => table(seed, out),
        PageKind::Random => random(seed, out),
    }
}

/// Fills `out` with random words.
fn random(seed: u64, out: &mut [u8]) {
    fill_words(out, numbers(seed));
}

/// Fills `out` with words like those of a kernel's structures: mostly pointers.
fn table(seed: u64, out: &mut [u8]) {
    let mut next = numbers(seed);
    fill_words(out, || {
        let n = next();
        match n >> 61 {
            0..2 => 0,
            2..4 => n & 0xff,
            _ => crate::demo::layout::PAGE_OFFSET | (n & 0x0fff_ffc0),
        }
    });
}

/// Fills `out` with words of the dictionary and an occasional number.
fn text(seed: u64, out: &mut [u8]) {
    let mut next = numbers(seed);
    let mut at = 0;
    while at < out.len() {
        let n = next();
        let (token, len) = if n >> 61 == 0 {
            (octal(n), 8)
        } else {
            WORDS[(n % WORDS.len() as u64) as usize]
        };
        // The next word overwrites the padding of a short word.
        let room = &mut out[at..];
        let n = room.len().min(8);
        room[..n].copy_from_slice(&token[..n]);
        at += len;
    }
}

/// Returns seven random octal digits and a line feed.
const fn octal(n: u64) -> [u8; 8] {
    ((n & 0x0007_0707_0707_0707) | 0x0a30_3030_3030_3030).to_le_bytes()
}

fn fill_words(out: &mut [u8], mut word: impl FnMut() -> u64) {
    let (words, rest) = out.as_chunks_mut::<8>();
    for w in words {
        *w = word().to_le_bytes();
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&word().to_le_bytes()[..rest.len()]);
    }
}

/// The dictionary: each word with a space, padded, and its length.
static WORDS: [([u8; 8], usize); 64] = {
    let text = b"cpu memory page zone node device driver bus irq timer clock task \
        thread process signal socket packet route link queue buffer cache inode file \
        mount block disk sector volume request reply error retry failed ready active \
        idle online offline mapped free used locked waiting on at by for from to of \
        with in the and not is was has set new old init exit ";
    let mut words = [([0; 8], 0); 64];
    let (mut word, mut i) = (0, 0);
    while i < text.len() {
        let (bytes, len) = &mut words[word];
        bytes[*len] = text[i];
        *len += 1;
        if text[i] == b' ' {
            word += 1;
        }
        i += 1;
    }
    assert!(word == words.len());
    words
};
