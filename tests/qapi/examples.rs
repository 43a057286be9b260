//! The examples of QEMU's schema. Ours are equal to them byte for byte once
//! the white space outside strings is taken away; the members' order counts.

use std::fmt::Debug;

use guestdump::qapi::{
    Answer, Command, DumpCompleted, DumpGuestMemoryArguments, DumpGuestMemoryCapability,
    DumpGuestMemoryFormat as Name, DumpQueryResult, DumpStatus, Event, EventMessage, GuestPanic,
    GuestPanicAction, GuestPanicInformation, GuestPanicInformationHyperV,
    GuestPanicInformationS390, GuestPanicInformationSev, GuestPanicInformationTdx, Outcome,
    QmpError, Reply, RunState, S390CrashReason, StatusInfo, Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn without_white_space(example: &str) -> String {
    let mut in_string = false;
    example
        .chars()
        .filter(|c| {
            in_string ^= *c == '"';
            in_string || !c.is_whitespace()
        })
        .collect()
}

#[track_caller]
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, example: &str) {
    let ours = serde_json::to_string(value).unwrap();
    assert_eq!(ours, without_white_space(example));
    assert_eq!(&serde_json::from_str::<T>(example).unwrap(), value);
}

fn command(name: &str) -> Command {
    Command {
        execute: name.into(),
        arguments: None,
        id: None,
    }
}

fn reply(answer: Answer) -> Reply {
    Reply {
        outcome: Outcome::Return(answer),
        id: None,
    }
}

#[test]
fn dump_guest_memory_is_as_in_the_schema() {
    let arguments = DumpGuestMemoryArguments {
        paging: false,
        protocol: "fd:dump".into(),
        detach: None,
        begin: None,
        length: None,
        format: None,
    };
    same(&arguments, r#"{ "paging": false, "protocol": "fd:dump" }"#);
    let members = serde_json::to_value(&arguments).unwrap();
    let command = Command {
        arguments: members.as_object().cloned(),
        ..command("dump-guest-memory")
    };
    let example = r#"{ "execute": "dump-guest-memory",
                       "arguments": { "paging": false, "protocol": "fd:dump" } }"#;
    same(&command, example);
    assert_eq!(command.to_string(), without_white_space(example));
    same(&reply(Answer::DumpGuestMemory {}), r#"{ "return": {} }"#);
}

#[test]
fn query_dump_is_as_in_the_schema() {
    same(&command("query-dump"), r#"{ "execute": "query-dump" }"#);
    let result = DumpQueryResult {
        status: DumpStatus::Active,
        completed: 1_024_000,
        total: 2_048_000,
    };
    let example = r#"{ "return": { "status": "active", "completed": 1024000,
                                   "total": 2048000 } }"#;
    same(&reply(Answer::QueryDump(result)), example);
}

#[test]
fn dump_completed_is_as_in_the_schema() {
    let event = EventMessage {
        event: Event::DumpCompleted(DumpCompleted {
            result: DumpQueryResult {
                status: DumpStatus::Completed,
                completed: 1_090_650_112,
                total: 1_090_650_112,
            },
            error: None,
        }),
        timestamp: Timestamp {
            seconds: 1_648_244_171,
            microseconds: 950_316,
        },
    };
    let example = r#"{ "event": "DUMP_COMPLETED",
         "data": { "result": { "total": 1090650112, "status": "completed",
                               "completed": 1090650112 } },
         "timestamp": { "seconds": 1648244171, "microseconds": 950316 } }"#;
    same(&event, example);
    assert_eq!(event.to_string(), without_white_space(example));
}

#[test]
fn query_dump_guest_memory_capability_is_as_in_the_schema() {
    let capability = DumpGuestMemoryCapability {
        formats: vec![
            Name::Elf,
            Name::KdumpZlib,
            Name::KdumpLzo,
            Name::KdumpSnappy,
        ],
    };
    same(
        &command("query-dump-guest-memory-capability"),
        r#"{ "execute": "query-dump-guest-memory-capability" }"#,
    );
    let example = r#"{ "return": { "formats":
                     ["elf", "kdump-zlib", "kdump-lzo", "kdump-snappy"] } }"#;
    same(&reply(Answer::Capability(capability)), example);
}

#[test]
fn query_status_is_as_in_the_schema() {
    let answer = StatusInfo::from(RunState::Running);
    same(&answer, r#"{ "running": true, "status": "running" }"#);
    assert!(!StatusInfo::from(RunState::SaveVm).running);
}

#[test]
fn guest_panicked_and_crashloaded_are_as_in_the_schema() {
    let panic = |action| GuestPanic { action, info: None };
    let event = EventMessage {
        event: Event::GuestPanicked(panic(GuestPanicAction::Pause)),
        timestamp: Timestamp {
            seconds: 1_648_245_231,
            microseconds: 900_001,
        },
    };
    let example = r#"{ "event": "GUEST_PANICKED",
         "data": { "action": "pause" },
         "timestamp": { "seconds": 1648245231, "microseconds": 900001 } }"#;
    same(&event, example);
    let event = EventMessage {
        event: Event::GuestCrashloaded(panic(GuestPanicAction::Run)),
        timestamp: Timestamp {
            seconds: 1_648_245_259,
            microseconds: 893_771,
        },
    };
    let example = r#"{ "event": "GUEST_CRASHLOADED",
         "data": { "action": "run" },
         "timestamp": { "seconds": 1648245259, "microseconds": 893771 } }"#;
    same(&event, example);
}

// The schema has no examples of what follows: its member names and order.

#[test]
fn guest_panic_information_of_every_kind_comes_back_from_json() {
    let hyper_v = GuestPanicInformationHyperV {
        arg1: 0xd1,
        arg2: u64::MAX,
        arg3: 3,
        arg4: 4,
        arg5: 5,
    };
    same(
        &GuestPanicInformation::HyperV(hyper_v),
        r#"{"type":"hyper-v","arg1":209,"arg2":18446744073709551615,"arg3":3,"arg4":4,"arg5":5}"#,
    );
    let s390 = GuestPanicInformationS390 {
        core: 1,
        psw_mask: 0x0002_0001_8000_0000,
        psw_addr: 0xdead,
        reason: S390CrashReason::DisabledWait,
    };
    same(
        &GuestPanicInformation::S390(s390),
        r#"{"type":"s390","core":1,"psw-mask":562956395872256,"psw-addr":57005,"reason":"disabled-wait"}"#,
    );
    let tdx = |gpa| {
        GuestPanicInformation::Tdx(GuestPanicInformationTdx {
            error_code: 7,
            message: "no".into(),
            gpa,
        })
    };
    same(
        &tdx(None),
        r#"{"type":"tdx","error-code":7,"message":"no"}"#,
    );
    same(
        &tdx(Some(4096)),
        r#"{"type":"tdx","error-code":7,"message":"no","gpa":4096}"#,
    );
    same(
        &GuestPanicInformation::Sev(GuestPanicInformationSev { set: 0, code: 1 }),
        r#"{"type":"sev","set":0,"code":1}"#,
    );
    let event = Event::GuestPanicked(GuestPanic {
        action: GuestPanicAction::Poweroff,
        info: Some(GuestPanicInformation::HyperV(hyper_v)),
    });
    let json = serde_json::to_string(&event).unwrap();
    assert!(
        json.contains(r#""info":{"type":"hyper-v","arg1":209,"#),
        "{json}"
    );
}

#[track_caller]
fn names<T: Serialize + DeserializeOwned + PartialEq + Debug>(values: &[T], names: &[&str]) {
    assert_eq!(values.len(), names.len());
    for (value, name) in values.iter().zip(names) {
        same(value, &format!("\"{name}\""));
    }
}

#[test]
fn names_of_enumerations_are_those_of_the_schema() {
    names(
        Name::ALL,
        &[
            "elf",
            "kdump-zlib",
            "kdump-lzo",
            "kdump-snappy",
            "kdump-raw-zlib",
            "kdump-raw-lzo",
            "kdump-raw-snappy",
            "win-dmp",
        ],
    );
    use DumpStatus::{Active, Completed, Failed, None};
    names(
        &[None, Active, Completed, Failed],
        &["none", "active", "completed", "failed"],
    );
    names(
        RunState::ALL,
        &[
            "debug",
            "inmigrate",
            "internal-error",
            "io-error",
            "paused",
            "postmigrate",
            "prelaunch",
            "finish-migrate",
            "restore-vm",
            "running",
            "save-vm",
            "shutdown",
            "suspended",
            "watchdog",
            "guest-panicked",
            "colo",
        ],
    );
    names(
        &[
            S390CrashReason::Unknown,
            S390CrashReason::DisabledWait,
            S390CrashReason::ExtintLoop,
            S390CrashReason::PgmintLoop,
            S390CrashReason::OpintLoop,
        ],
        &[
            "unknown",
            "disabled-wait",
            "extint-loop",
            "pgmint-loop",
            "opint-loop",
        ],
    );
    names(
        &[
            GuestPanicAction::Pause,
            GuestPanicAction::Poweroff,
            GuestPanicAction::Run,
        ],
        &["pause", "poweroff", "run"],
    );
}

#[test]
fn failed_dump_and_all_arguments_come_back_from_json() {
    let failed = DumpCompleted {
        result: DumpQueryResult {
            status: DumpStatus::Failed,
            completed: 0,
            total: 4096,
        },
        error: Some("disk full".into()),
    };
    same(
        &failed,
        r#"{"result":{"total":4096,"status":"failed","completed":0},"error":"disk full"}"#,
    );
    let arguments = DumpGuestMemoryArguments {
        paging: true,
        protocol: "file:/tmp/vmcore".into(),
        detach: Some(true),
        begin: Some(0),
        length: Some(4096),
        format: Some(Name::Elf.into()),
    };
    same(
        &arguments,
        r#"{"paging":true,"protocol":"file:/tmp/vmcore","detach":true,"begin":0,"length":4096,"format":"elf"}"#,
    );
}

#[test]
fn messages_are_ascii_on_the_wire() {
    let error = Reply {
        outcome: Outcome::Error(QmpError::generic("Gerät \u{1f4be}")),
        id: Some(7.into()),
    };
    let wire = r#"{"error":{"class":"GenericError","desc":"Ger\u00e4t \ud83d\udcbe"},"id":7}"#;
    assert_eq!(error.to_string(), wire);
    assert_eq!(serde_json::from_str::<Reply>(wire).unwrap(), error);
}
