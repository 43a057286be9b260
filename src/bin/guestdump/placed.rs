//! Where the RAM of a file without a map was taken to lie, and who says so.

use guestdump::Machine;
use guestdump::ram_layout::RamPiece;
use serde::Serialize;

/// Where the RAM of a file was taken to lie.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) machine: Machine,
    pub(crate) pieces: Vec<RamPiece>,
    pub(crate) by: By,
}

/// Who says where the RAM lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The guest's kernel.
    Kernel,
    /// The kernel is in its place. That this is all RAM, and where the rest of it lies, is only
    /// usual.
    Usual,
    /// It is assumed; the command line names the machine.
    AssumedPlace,
    /// It is assumed, as the machine is.
    Assumed,
}

impl Placed {
    /// Whether nothing proves that the RAM lies there.
    pub(crate) fn is_assumed(&self) -> bool {
        self.by != By::Kernel
    }

    /// Says for people who placed the RAM; a warning if nobody did.
    pub(crate) fn line(&self) -> String {
        let machine = self.machine;
        let ranges = self.pieces.iter().map(|piece| piece.range.to_string());
        let ranges = ranges.collect::<Vec<_>>().join(" ");
        let none = "no Linux kernel in the file tells";
        match self.by {
            By::Kernel => format!("RAM of {machine} at {ranges}, by the guest's kernel"),
            By::Usual => format!(
                "warning: assumed RAM of {machine} at {ranges}: the guest's kernel is in its place, \
                 but is not asked whether this is all RAM; --map says otherwise"
            ),
            By::AssumedPlace => {
                format!(
                    "warning: assumed RAM of {machine} at {ranges}: {none}; --map says otherwise"
                )
            }
            By::Assumed => format!(
                "warning: assumed {machine}, RAM from address 0 on: {none}; --machine and --map say \
                 otherwise"
            ),
        }
    }
}

/// Where the RAM was taken to lie, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct PlacedEntry {
    machine: &'static str,
    by: &'static str,
    regions: Vec<PieceEntry>,
}

#[derive(Debug, Serialize)]
struct PieceEntry {
    gpa: u64,
    size: u64,
    offset: u64,
}

impl From<&Placed> for PlacedEntry {
    fn from(placed: &Placed) -> Self {
        let regions = placed.pieces.iter().map(|piece| PieceEntry {
            gpa: piece.range.start(),
            size: piece.range.size(),
            offset: piece.offset,
        });
        Self {
            machine: placed.machine.name(),
            by: match placed.by {
                By::Kernel => "kernel",
                By::Usual => "usual",
                By::AssumedPlace | By::Assumed => "assumed",
            },
            regions: regions.collect(),
        }
    }
}
