//! The command `guestdump rearrange`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use guestdump::read::{RearrangeError, rearrange};
use guestdump::sink::Target;
use guestdump::{Error, Progress};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::args::RearrangeArgs;
use crate::input_file::{kind, open_file};
use crate::paths::Shown;
use crate::report::{Failure, Result, human, note};
use crate::same_file;
use crate::signals::Watch;
use crate::target;

/// Interval in which a wait for input checks whether it was cancelled.
const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &RearrangeArgs) -> Result<()> {
    let from_stdin = args.from == Path::new("-");
    same_file::remember_target(&args.to);
    let name = if from_stdin {
        "standard input".into()
    } else {
        Shown(&args.from).to_string()
    };
    let progress = Progress::new();
    let mut input: Box<dyn Read> = if from_stdin {
        Box::new(Stdin::new(progress.clone())?)
    } else {
        Box::new(open_file(&args.from)?)
    };
    let is_file = matches!(args.to, Target::File(_));
    let watch = Watch::start(progress.clone(), !is_file, None)
        .map_err(|e| Failure::because("cannot watch for signals", &e))?;
    let mut sink = target::open(&args.to, args.file.into())?;
    let size = rearrange(&mut *input, &mut *sink, &progress).map_err(|error| {
        let failure = || match error {
            RearrangeError::Fault(fault) => target::failure(&args.to, fault.into()),
            RearrangeError::Finish(error) => target::failure(&args.to, Error::Finish(error)),
            RearrangeError::NotFlattened => not_flattened(&args.from)
                .unwrap_or_else(|| Failure::because(name, &RearrangeError::NotFlattened)),
            error => Failure::because(name, &error),
        };
        watch.caught().unwrap_or_else(failure)
    })?;
    note(&format!("{}: {}", target::Name(&args.to), human(size)));
    Ok(())
}

/// Returns the failure for a file of another kind, if its first bytes tell it.
fn not_flattened(path: &Path) -> Option<Failure> {
    let kind = kind(&open_file(path).ok()?)?;
    let way_out = match kind {
        kind if kind.is_readable_dump() => "it is in its raw form already",
        kind => kind.advice(),
    };
    Some(Failure::new(format!(
        "{}: the input is not in makedumpfile's flattened format, but {kind}: {way_out}",
        Shown(path)
    )))
}

/// Standard input that can be cancelled while it waits for the other end of a
/// pipe.
struct Stdin {
    file: File,
    progress: Progress,
}

impl Stdin {
    fn new(progress: Progress) -> Result<Self> {
        let failure = |e: io::Error| Failure::because("cannot use standard input", &e);
        let file = rustix::io::dup(io::stdin()).map_err(|e| failure(e.into()))?;
        let file = File::from(file);
        let meta = file.metadata().map_err(failure)?;
        same_file::refuse_target(Path::new("standard input"), &meta)?;
        Ok(Self { file, progress })
    }
}

impl Read for Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let interval = Timespec::try_from(INTERVAL).map_err(io::Error::other)?;
        loop {
            if self.progress.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            match poll(
                &mut [PollFd::new(&self.file, PollFlags::IN)],
                Some(&interval),
            ) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.file.read(buf),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
