//! JSON in, JSON out.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use guestdump::Machine;
use guestdump::qapi::{DumpGuestMemoryCapability, DumpService};
use serde_json::{Value, json};

use crate::vm::{PATIENCE, TOTAL, Trouble, Vm};

fn ask(service: &DumpService<Vm>, command: &str) -> Value {
    serde_json::from_str(&service.dispatch(command, |_| None)).unwrap()
}

#[track_caller]
fn generic(reply: &Value, words: &str) {
    assert_eq!(reply["error"]["class"], "GenericError", "{reply}");
    let desc = reply["error"]["desc"].as_str().unwrap();
    assert!(desc.contains(words), "{desc}");
    assert!(reply.get("return").is_none());
}

#[test]
fn detached_dump_over_json_is_active_then_completed() {
    let (vm, events) = Vm::new(Trouble::None);
    let service = DumpService::new(Arc::clone(&vm));
    let query = r#"{"execute":"query-dump"}"#;
    assert_eq!(
        service.dispatch(query, |_| None),
        r#"{"return":{"status":"none","completed":0,"total":0}}"#
    );
    let open = vm.shut_gate();
    let target = tempfile::NamedTempFile::new().unwrap();
    let file = File::options().write(true).open(target.path()).unwrap();
    let reply = service.dispatch(
        r#"{"execute":"dump-guest-memory","id":{"n":[1]},
            "arguments":{"paging":false,"protocol":"fd:dump","detach":true}}"#,
        |name| (name == "dump").then(|| OwnedFd::from(file)),
    );
    assert_eq!(reply, r#"{"return":{},"id":{"n":[1]}}"#);
    let active = ask(&service, query);
    assert_eq!(active["return"]["status"], "active");
    assert_eq!(active["return"]["total"], TOTAL);
    generic(
        &ask(
            &service,
            r#"{"execute":"dump-guest-memory","arguments":{"paging":false,"protocol":"fd:x"}}"#,
        ),
        "another dump is being written",
    );
    drop(open);
    events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        service.dispatch(query, |_| None),
        format!(r#"{{"return":{{"status":"completed","completed":{TOTAL},"total":{TOTAL}}}}}"#)
    );
    assert_eq!(&std::fs::read(target.path()).unwrap()[..4], b"\x7fELF");
}

#[test]
fn the_capability_is_what_the_build_can_write() {
    let (vm, _events) = Vm::new(Trouble::None);
    let service = DumpService::new(vm);
    let reply = ask(
        &service,
        r#"{"execute":"query-dump-guest-memory-capability","arguments":{}}"#,
    );
    let expected =
        serde_json::to_value(DumpGuestMemoryCapability::available(Machine::X86_64)).unwrap();
    assert_eq!(reply, json!({ "return": expected }));
    let names = expected["formats"].as_array().unwrap();
    for (name, built) in [
        ("elf", true),
        ("kdump-zlib", cfg!(feature = "zlib")),
        ("kdump-lzo", cfg!(feature = "lzo")),
        ("kdump-raw-snappy", cfg!(feature = "snappy")),
        ("kdump-zstd", false),
        ("win-dmp", true),
        ("win-dmp-bitmap", false),
    ] {
        assert_eq!(names.contains(&json!(name)), built, "{name}");
    }
}

#[test]
fn errors_are_replies_and_keep_the_id() {
    let (vm, _events) = Vm::new(Trouble::RegistersFail);
    let service = DumpService::new(Arc::clone(&vm));
    let ask = |command: &str| ask(&service, command);
    generic(&ask(""), "not JSON");
    generic(&ask("{ \"execute\": }"), "not JSON");
    generic(&ask("[]"), "not a command");
    generic(&ask("{}"), "execute");
    let reply = ask(r#"{"execute":"query-dump","args":{},"id":5}"#);
    generic(&reply, "args");
    assert_eq!(reply["id"], 5);
    let reply = ask(r#"{"execute":"stop","id":"a"}"#);
    assert_eq!(reply["error"]["class"], "CommandNotFound");
    assert_eq!(reply["id"], "a");
    generic(
        &ask(r#"{"execute":"query-dump","arguments":{"detach":true}}"#),
        "no parameter 'detach'",
    );
    let dump = |arguments: &str| {
        ask(&format!(
            r#"{{"execute":"dump-guest-memory","arguments":{arguments}}}"#
        ))
    };
    generic(
        &ask(r#"{"execute":"dump-guest-memory"}"#),
        "'paging' is missing",
    );
    generic(&dump(r#"{"protocol":"fd:dump"}"#), "'paging' is missing");
    generic(
        &dump(r#"{"paging":false,"protocol":"fd:dump","format":"vmdk"}"#),
        "vmdk",
    );
    generic(
        &dump(r#"{"paging":false,"protocol":"fd:dump"}"#),
        "no file descriptor named 'dump'",
    );
    assert_eq!(vm.counts(), (0, 0, true));
    let folder = tempfile::tempdir().unwrap();
    let arguments = json!({
        "paging": false,
        "protocol": format!("file:{}/vmcore", folder.path().display()),
    });
    generic(&dump(&arguments.to_string()), "no registers");
    assert_eq!(vm.counts(), (1, 1, true));
}

#[test]
fn hostile_json_is_an_error_and_no_more() {
    let (vm, _events) = Vm::new(Trouble::None);
    let service = DumpService::new(vm);
    let deep = "[".repeat(1 << 20);
    for command in [&deep, "\u{0}", "nul", "{\"execute\":7}", "{\"id\":1e999}"] {
        generic(&ask(&service, command), "");
    }
}
