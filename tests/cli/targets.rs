//! `dump --to`: files, descriptors, pipes, terminals.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::Stdio;

use testkit::{Folder, Run};

#[test]
fn an_existing_file_is_replaced_only_by_force() {
    let folder = Folder::new();
    folder.write("x", "precious");
    for target in ["x", "file:x"] {
        folder
            .run(&format!("dump --from demo:16M --to {target}"))
            .fails(1, &["x exists", "--force"]);
    }
    assert_eq!(folder.read("x"), b"precious");
    folder.run("dump --from demo:16M --to x --force").ok();
    assert!(folder.read("x").starts_with(b"KDUMP"));
    assert_eq!(folder.names(), ["x"]);
}

#[test]
fn a_failed_dump_leaves_nothing() {
    let folder = Folder::new();
    folder.write("old", "precious");
    folder.write("ram", [1; 8192]);
    folder.write("note", "not VMCOREINFO");
    for line in [
        "dump --from raw:ram --to x --page-size 5000",
        "dump --from raw:ram --to old --force --vmcoreinfo note",
        "dump --from raw:ram --to nowhere/x",
    ] {
        assert_eq!(folder.run(line).code(), 1, "{line}");
    }
    assert_eq!(folder.read("old"), b"precious");
    assert_eq!(folder.names(), ["note", "old", "ram"]);
}

#[test]
fn a_write_that_fails_leaves_nothing() {
    let folder = Folder::new();
    // A limit on the file size: SIGXFSZ is ignored, so writes fail.
    folder
        .shell(
            "trap '' XFSZ; ulimit -f 64; exec guestdump dump --from demo:32M --to x --format elf",
        )
        .fails(1, &["cannot write", "File too large"]);
    assert!(folder.names().is_empty());
}

#[test]
fn folders_links_and_devices_are_refused() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("d")).unwrap();
    std::os::unix::fs::symlink("elsewhere", folder.path("l")).unwrap();
    for target in ["d", "l", "/dev/null"] {
        folder
            .run(&format!("dump --from demo:16M --to {target} --force"))
            .fails(1, &[target, "not a regular file"]);
    }
}

#[test]
fn streams_take_the_flattened_format() {
    let folder = Folder::new();
    let run = folder.run("dump --from demo:16M --to - --json");
    run.ok();
    assert!(run.0.stdout.starts_with(b"makedumpfile\0"));
    // The summary makes way for the dump.
    let json: serde_json::Value = serde_json::from_str(run.stderr()).unwrap();
    assert_eq!(json["format"], "kdump-zlib");
    assert_eq!(json["bytes_written"], run.0.stdout.len());
    folder
        .run("dump --from demo:16M --to x --format kdump-zlib")
        .ok();
    assert!(folder.read("x") == run.0.stdout);

    let piped = folder.run("dump --from demo:16M --to fd:1 --format elf --json");
    folder.run("dump --from demo:16M --to y --format elf").ok();
    assert!(folder.read("y") == piped.0.stdout);
    assert!(piped.stderr().starts_with('{'), "{}", piped.stderr());

    folder
        .run("dump --from demo:16M --to - --format kdump-raw-zlib")
        .fails(1, &["kdump-raw-zlib", "use kdump-zlib"]);
}

#[test]
fn descriptors_are_used_by_number() {
    let folder = Folder::new();
    let json = folder
        .shell("guestdump dump --from demo:16M --to fd:7 --json 7>x")
        .json();
    assert_eq!(json["format"], "kdump-raw-zlib");
    folder
        .shell("guestdump dump --from demo:16M --to fd:7 --json 7>&1 >summary | cat >flat")
        .ok();
    folder.run("dump --from demo:16M --to y").ok();
    assert!(folder.read("x") == folder.read("y"));
    assert!(folder.read("flat").starts_with(b"makedumpfile\0"));
    assert!(folder.read("summary").starts_with(b"{"));
    folder
        .run("dump --from demo:16M --to fd:97")
        .fails(1, &["fd:97", "Bad file descriptor"]);
    folder
        .shell("guestdump dump --from demo:16M --to fd:7 7<y")
        .fails(1, &["fd:7", "not open for writing"]);
    // Standard output that is an empty file can be written anywhere.
    folder
        .shell("guestdump dump --from demo:16M --to - >z")
        .ok();
    assert!(folder.read("z") == folder.read("y"));
}

#[test]
fn a_reader_that_goes_away_is_one_line_and_exit_code_1() {
    let folder = Folder::new();
    let mut command = folder.command(["dump", "--from", "demo:64M", "--to", "-"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut start = [0; 100];
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut start).unwrap();
    drop(pipe);
    Run(child.wait_with_output().unwrap()).fails(1, &["cannot write", "Broken pipe"]);
}

/// A terminal: the side that a user sits at and the side that programs have.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap().into_string().unwrap();
    let program = File::options().read(true).write(true).open(name).unwrap();
    (user.into(), program)
}

#[test]
fn a_terminal_gets_no_dump() {
    let folder = Folder::new();
    let (_user, program) = terminal();
    let on_terminal = || Stdio::from(program.as_fd().try_clone_to_owned().unwrap());
    for target in ["-", "fd:1"] {
        let mut command = folder.command(["dump", "--from", "demo:16M", "--to", target]);
        let output = command.stdout(on_terminal()).stderr(Stdio::piped()).spawn();
        Run(output.unwrap().wait_with_output().unwrap()).fails(1, &["is a terminal", "redirect"]);
    }
    let mut shell = std::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_guestdump");
    shell.args([
        "-c",
        "exec \"$0\" dump --from demo:16M --to fd:5 5>&0",
        program,
    ]);
    let output = shell.stdin(on_terminal()).output().unwrap();
    Run(output).fails(1, &["fd:5 is a terminal"]);
}

#[test]
fn a_terminal_gets_a_progress_bar() {
    let folder = Folder::new();
    let (mut user, program) = terminal();
    // Slow enough for a bar to be drawn on a busy machine.
    let line = "dump --from demo:64M --to x --throttle 16M";
    let mut command = folder.command(line.split(' '));
    command.stderr(program);
    // Without it the terminal is taken for one that cannot go back.
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut seen = Vec::new();
    // EIO once nobody has the other side.
    let _ = user.read_to_end(&mut seen);
    assert!(child.wait().unwrap().success());
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("64.00 MiB"), "{seen}");
    assert!(seen.contains("x: kdump-raw-zlib"), "{seen}");
}
