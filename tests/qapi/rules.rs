//! QEMU's rules for the arguments of `dump-guest-memory`, one test a rule.

use guestdump::qapi::{
    ArgumentsError, Circumstances, DumpGuestMemoryArguments, DumpGuestMemoryCapability,
    DumpGuestMemoryFormat as Name, DumpStatus, ExtensionFormat, FormatName, Parameter, Protocol,
    Rules, RunState,
};
use guestdump::{Format, Machine};
use serde_json::{Value, json};

use crate::vm::to;

const FREE: Circumstances = Circumstances {
    run_state: RunState::Running,
    status: DumpStatus::None,
    migrating: false,
    machine: Machine::X86_64,
    rules: Rules::Extended,
};

const AS_QEMU: Circumstances = Circumstances {
    rules: Rules::Qemu,
    ..FREE
};

fn arguments(members: Value) -> Result<DumpGuestMemoryArguments, ArgumentsError> {
    DumpGuestMemoryArguments::from_members(members.as_object().unwrap().clone())
}

fn in_format(name: Name) -> DumpGuestMemoryArguments {
    DumpGuestMemoryArguments {
        format: Some(name.into()),
        ..to("file:x")
    }
}

macro_rules! refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {{
        let error = $result.unwrap_err();
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
    }};
}

#[test]
fn defaults_are_qemus() {
    let request = to("fd:dump").check(&FREE).unwrap();
    assert_eq!(request.format, Format::Elf);
    assert_eq!(request.filter, None);
    assert!(!request.detach && !request.paging);
    assert_eq!(request.protocol, Protocol::Fd("dump".into()));
}

#[test]
fn the_schema_wants_its_members_and_types_and_no_others() {
    use ArgumentsError::{Missing, Unexpected, UnknownFormat, WrongType};
    refused!(
        arguments(json!({ "protocol": "fd:dump" })),
        Missing(Parameter::Paging)
    );
    refused!(
        arguments(json!({ "paging": false })),
        Missing(Parameter::Protocol)
    );
    let base = json!({ "paging": false, "protocol": "file:x" });
    let with = |name: &str, value: Value| {
        let mut members = base.clone();
        members[name] = value;
        arguments(members)
    };
    refused!(with("paging", json!(1)), WrongType(Parameter::Paging));
    refused!(with("protocol", json!(1)), WrongType(Parameter::Protocol));
    refused!(with("detach", json!("yes")), WrongType(Parameter::Detach));
    refused!(with("begin", json!("0x1000")), WrongType(Parameter::Begin));
    refused!(with("begin", json!(1.5)), WrongType(Parameter::Begin));
    refused!(with("length", json!(null)), WrongType(Parameter::Length));
    refused!(
        with("length", json!(1u64 << 63)),
        WrongType(Parameter::Length)
    );
    refused!(with("format", json!(["elf"])), WrongType(Parameter::Format));
    refused!(with("format", json!("vmdk")), UnknownFormat(name) if name.0 == "vmdk");
    refused!(with("end", json!(4096)), Unexpected(name) if name == "end");
    let all = json!({
        "paging": true, "protocol": "file:x", "detach": true,
        "begin": 1, "length": 2, "format": "kdump-raw-zstd",
    });
    let typed: DumpGuestMemoryArguments = serde_json::from_value(all.clone()).unwrap();
    assert_eq!(arguments(all).unwrap(), typed);
}

#[test]
fn no_dump_of_a_guest_that_is_still_on_its_way_here() {
    for &run_state in RunState::ALL {
        let result = to("file:x").check(&Circumstances { run_state, ..FREE });
        assert_eq!(result.is_err(), run_state == RunState::Inmigrate);
        assert_eq!(run_state.is_running(), run_state == RunState::Running);
    }
    let run_state = RunState::Inmigrate;
    refused!(
        to("?").check(&Circumstances { run_state, ..FREE }),
        ArgumentsError::IncomingMigration
    );
}

#[test]
fn arguments_while_a_dump_is_active_are_refused_as_busy() {
    use DumpStatus::{Active, Completed, Failed, None};
    for status in [None, Completed, Failed] {
        assert!(
            to("file:x")
                .check(&Circumstances { status, ..FREE })
                .is_ok()
        );
    }
    refused!(
        to("?").check(&Circumstances {
            status: Active,
            ..FREE
        }),
        ArgumentsError::Busy(_)
    );
}

#[test]
fn paging_is_for_elf_alone() {
    for rules in [Rules::Extended, Rules::Qemu] {
        for &name in Name::ALL {
            let arguments = DumpGuestMemoryArguments {
                paging: true,
                ..in_format(name)
            };
            let result = arguments.check(&Circumstances { rules, ..FREE });
            if name == Name::Elf {
                assert!(result.unwrap().paging);
            } else {
                refused!(result, ArgumentsError::PagingNeedsElf { format } if *format == name.into());
            }
        }
    }
    let arguments = DumpGuestMemoryArguments {
        paging: true,
        ..to("file:x")
    };
    assert!(arguments.check(&FREE).unwrap().paging);
}

#[test]
fn begin_and_length_are_for_elf_alone_by_qemus_rules_and_for_all_by_ours() {
    for name in DumpGuestMemoryCapability::available(Machine::X86_64).formats {
        let part = DumpGuestMemoryArguments {
            begin: Some(4096),
            length: Some(8192),
            ..in_format(name)
        };
        assert_eq!(part.check(&FREE).unwrap().filter, Some((4096, 8192)));
        match name {
            Name::Elf => assert!(part.check(&AS_QEMU).is_ok()),
            _ => refused!(
                part.check(&AS_QEMU),
                ArgumentsError::FilterNeedsElf { format } if *format == name.into()
            ),
        }
    }
    // QEMU looks at the format before it looks for the other of the two.
    let half = DumpGuestMemoryArguments {
        begin: Some(4096),
        ..in_format(Name::KdumpZlib)
    };
    refused!(half.check(&AS_QEMU), ArgumentsError::FilterNeedsElf { .. });
}

#[test]
fn begin_and_length_go_together() {
    let begin = DumpGuestMemoryArguments {
        begin: Some(0),
        ..to("file:x")
    };
    let length = DumpGuestMemoryArguments {
        length: Some(1),
        ..to("file:x")
    };
    for circumstances in [FREE, AS_QEMU] {
        refused!(begin.check(&circumstances), ArgumentsError::LengthMissing);
        refused!(length.check(&circumstances), ArgumentsError::BeginMissing);
    }
}

#[test]
fn lengths_are_positive_and_addresses_not_negative() {
    let check = |begin, length| {
        let arguments = DumpGuestMemoryArguments {
            begin: Some(begin),
            length: Some(length),
            ..to("file:x")
        };
        arguments.check(&FREE)
    };
    refused!(check(0, 0), ArgumentsError::LengthZero);
    refused!(
        check(-1, 1),
        ArgumentsError::Negative {
            parameter: Parameter::Begin,
            value: -1
        }
    );
    refused!(
        check(0, i64::MIN),
        ArgumentsError::Negative {
            parameter: Parameter::Length,
            value: i64::MIN
        }
    );
    let most = i64::MAX as u64;
    assert_eq!(
        check(i64::MAX, i64::MAX).unwrap().filter,
        Some((most, most))
    );
}

#[test]
fn a_format_whose_codec_is_not_in_the_build_is_not_available() {
    let capability = DumpGuestMemoryCapability::available(Machine::X86_64);
    for &name in Name::ALL {
        let result = in_format(name).check(&FREE);
        let format = name.format();
        if format.is_available() {
            assert_eq!(result.unwrap().format, format);
            assert!(capability.formats.contains(&name));
        } else {
            assert!(!capability.formats.contains(&name));
            refused!(
                result,
                ArgumentsError::FormatUnavailable { format: f, feature }
                    if *f == format && format.name().ends_with(feature)
            );
        }
    }
    assert!(capability.formats.contains(&Name::Elf));
}

#[test]
fn our_own_formats_are_extensions_and_not_qemus() {
    let zstd = FormatName::Extension(ExtensionFormat::KdumpRawZstd);
    let arguments = DumpGuestMemoryArguments {
        format: Some(zstd),
        ..to("file:x")
    };
    refused!(
        arguments.check(&AS_QEMU),
        ArgumentsError::UnknownFormat(name) if name.0 == "kdump-raw-zstd"
    );
    let available = ExtensionFormat::available().any(|e| FormatName::Extension(e) == zstd);
    assert_eq!(available, cfg!(feature = "zstd"));
    assert_eq!(arguments.check(&FREE).is_ok(), available);
}

#[test]
fn protocols_are_file_and_fd() {
    let protocol = |s: &str| to(s).check(&FREE).map(|request| request.protocol);
    assert_eq!(
        protocol("file:/a:b").unwrap(),
        Protocol::File("/a:b".into())
    );
    assert_eq!(protocol("fd:a b").unwrap(), Protocol::Fd("a b".into()));
    for bad in ["", "/tmp/x", "tcp:host", "FILE:x", "fdset:1", "-"] {
        refused!(protocol(bad), ArgumentsError::Protocol(text) if text == bad);
    }
}

#[test]
fn no_dump_while_the_guest_is_migrated_away() {
    let circumstances = Circumstances {
        migrating: true,
        ..FREE
    };
    refused!(
        to("file:x").check(&circumstances),
        ArgumentsError::Migrating
    );
}

#[test]
fn every_message_says_what_to_do_about_it() {
    for (error, words) in [
        (ArgumentsError::Missing(Parameter::Protocol), "file:PATH"),
        (
            ArgumentsError::WrongType(Parameter::Begin),
            "'begin' must be an integer",
        ),
        (ArgumentsError::LengthMissing, "'length' is missing"),
        (ArgumentsError::BeginMissing, "'begin' is missing"),
        (ArgumentsError::Protocol("x".into()), "'file:' or 'fd:'"),
        (ArgumentsError::IncomingMigration, "when that has ended"),
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
}
