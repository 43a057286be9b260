//! The command `guestdump`: arguments in, calls of the library, text or JSON out.

mod args;
mod check;
mod choice;
mod closed;
mod dmesg;
mod dump_cmd;
mod exclude;
mod formats;
mod info;
mod info_entry;
mod info_text;
mod input_file;
mod lacks;
mod located;
mod map;
mod map_cmd;
mod map_file;
mod map_size;
mod missing;
mod names;
mod number;
mod paths;
mod placed;
mod progress;
mod qmp_resume;
mod raw_file;
mod rearrange;
mod report;
mod same_file;
mod settings;
mod signals;
mod source;
mod summary;
mod target;
mod usage;
mod usage_error;
mod vmcore_file;
mod vmcoreinfo_arg;

use std::process::ExitCode;

use args::Command;

fn main() -> ExitCode {
    let result = args::parse().and_then(|command| match command {
        Some(Command::Dump(args)) => dump_cmd::run(&args),
        Some(Command::Info(args)) => info::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Dmesg(args)) => dmesg::run(&args),
        Some(Command::Map(args)) => map_cmd::run(&args),
        Some(Command::Rearrange(args)) => rearrange::run(&args),
        Some(Command::QmpResume(args)) => qmp_resume::run(&args),
        Some(Command::Formats(args)) => formats::run(&args),
        None => Ok(()),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.finish(),
    }
}
