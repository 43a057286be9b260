//! The command `guestdump qmp-resume`.

use guestdump::qemu::resume_abandoned;

use crate::args::SocketArgs;
use crate::input_file::not_a_socket;
use crate::paths::Shown;
use crate::report::{Failure, Result, note};

pub(crate) fn run(args: &SocketArgs) -> Result<()> {
    let name = Shown(&args.socket);
    let resumed = resume_abandoned(&args.socket)
        .map_err(|e| not_a_socket(&args.socket).unwrap_or_else(|| Failure::because(&name, &e)))?;
    let how = if resumed { "again" } else { "already" };
    note(&format!("{name}: the guest runs {how}"));
    Ok(())
}
