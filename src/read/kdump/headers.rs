//! The headers of a kdump-compressed dump, read from the input.
#![forbid(unsafe_code)]

use crate::abi::Utsname;
use crate::arch::Machine;
use crate::kdump::{DumpHeaders, HeaderError, MainHeader, SIGNATURE, SubHeader};
use crate::read::{Input, VmcoreError};

/// Decodes both headers; `None` if this is no kdump.
pub(super) fn read_headers(input: &Input) -> Result<Option<DumpHeaders>, VmcoreError> {
    let mut head = [0; 512];
    let n = input.len().min(head.len() as u64) as usize;
    input.read_at(0, &mut head[..n])?;
    if !head[..n].starts_with(&SIGNATURE) {
        return Ok(None);
    }
    let (encoding, main) = MainHeader::find(&head[..n])
        .ok_or_else(|| VmcoreError::damaged(0, HeaderError::Implausible.to_string()))?;
    let block = u64::from(main.block_size);
    let mut bytes = [0; SubHeader::MAX_SIZE];
    let n = (bytes.len() as u64).min(input.len().saturating_sub(block)) as usize;
    input.read_at(block, &mut bytes[..n])?;
    let (abi, sub) = SubHeader::find(encoding, &main, &bytes)
        .ok_or_else(|| VmcoreError::damaged(block, HeaderError::CutShort.to_string()))?;
    Ok(Some(DumpHeaders { abi, main, sub }))
}

/// Returns the bytes in a page, which are those in a block.
pub(super) fn page_size(headers: &DumpHeaders) -> u64 {
    headers.main.block_size.into()
}

/// Returns the page frame of the bitmaps' first bit. QEMU counts from 0 for every
/// architecture, and does not state which architecture it is.
pub(super) fn first_frame(headers: &DumpHeaders) -> u64 {
    let machine = Utsname::text(&headers.main.utsname.machine).parse();
    if machine.is_ok_and(Machine::frames_from_phys_base) {
        headers.sub.phys_base / page_size(headers)
    } else {
        0
    }
}
