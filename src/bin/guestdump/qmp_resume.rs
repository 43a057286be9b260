//! The command `guestdump qmp-resume`.

use guestdump::qemu::resume_abandoned;

use crate::args::SocketArgs;
use crate::report::{Failure, Result, note};

pub(crate) fn run(args: &SocketArgs) -> Result<()> {
    let name = args.socket.display();
    let resumed = resume_abandoned(&args.socket).map_err(|e| Failure::because(&name, &e))?;
    note(&match resumed {
        true => format!("{name}: the guest runs again"),
        false => format!("{name}: the guest runs already"),
    });
    Ok(())
}
