//! The command `guestdump qmp-resume`.

use guestdump::qemu::resume_abandoned;

use crate::args::SocketArgs;
use crate::report::{Failure, Result, note};

pub(crate) fn run(args: &SocketArgs) -> Result<()> {
    let name = args.socket.display();
    let resumed = resume_abandoned(&args.socket).map_err(|e| Failure::because(&name, &e))?;
    let how = if resumed { "again" } else { "already" };
    note(&format!("{name}: the guest runs {how}"));
    Ok(())
}
