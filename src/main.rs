//! The command `guestdump`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
