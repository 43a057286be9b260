//! `guestdump info`.

use super::args::FileArgs;
use super::report::{Failure, Result};

pub(crate) fn run(args: &FileArgs) -> Result<()> {
    let _ = args;
    Err(Failure::new("not yet"))
}
