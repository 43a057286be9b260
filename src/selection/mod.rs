//! Page selection: which page frames are RAM, and which go into the dump.
#![forbid(unsafe_code)]

mod frame_run;
mod frame_set;
mod select;

pub(crate) use frame_run::{FrameRun, first_pages};
pub(crate) use frame_set::FrameSet;
pub(crate) use select::{Selection, SelectionError};
