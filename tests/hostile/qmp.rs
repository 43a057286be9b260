//! What answers on the socket says too much.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use guestdump::qemu::{QemuError, QemuGuest, QemuOptions};

use crate::meter::{Cost, Meter, alone};

const MIB: usize = 1 << 20;

/// A server that says `greeting`, and then `again` until nobody listens or all
/// of `len` bytes are said; gives how many it said.
fn server(
    listener: UnixListener,
    greeting: Vec<u8>,
    again: Vec<u8>,
    len: usize,
) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut said = 0;
        let mut say = |bytes: &[u8], stream: &mut UnixStream| {
            said += bytes.len();
            stream.write_all(bytes).is_ok()
        };
        let mut going_on = say(&greeting, &mut stream);
        let mut left = len;
        while going_on && left > 0 {
            let n = left.min(again.len());
            going_on = say(&again[..n], &mut stream);
            left -= n;
        }
        // Until the other side is done.
        let _ = stream.read_to_end(&mut Vec::new());
        said
    })
}

fn refused(
    meter: &Meter,
    name: &str,
    greeting: &str,
    again: &str,
    len: usize,
) -> (QemuError, Cost, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    let again = again
        .repeat((64 << 10) / again.len().max(1) + 1)
        .into_bytes();
    let server = server(listener, greeting.into(), again, len);
    let (result, cost) = meter.measure(name, || {
        QemuGuest::connect(&path, QemuOptions::default()).map(drop)
    });
    (result.unwrap_err(), cost, server.join().unwrap())
}

/// A message of any length without an end, of lines and without any.
#[test]
fn messages_without_an_end_are_refused() {
    let Some(meter) = alone!() else {
        return;
    };
    for (greeting, again) in [
        ("{\"QMP\": \"", "x"),
        ("{", "\n"),
        ("{\"a\": \"", "\\\""),
        ("", " "),
        ("", "x"),
        ("", "\r\n"),
    ] {
        let name = format!("{greeting}{again:?}…");
        let (error, cost, said) = refused(&meter, &name, greeting, again, usize::MAX);
        assert!(matches!(error, QemuError::NotQmp(_)), "{error}");
        assert!(error.to_string().len() < 1000);
        assert!(said < 18 * MIB, "{said}");
        // A vector that grows is there twice.
        assert!(cost.heap < 50 * MIB as u64, "{name}: {cost:?}");
    }
}

/// Values take more memory than their text.
#[test]
fn messages_of_too_many_values_are_refused() {
    let Some(meter) = alone!() else {
        return;
    };
    for (greeting, again) in [
        ("{\"a\": [", "0,"),
        ("{\"a\": [", "[],"),
        ("{\"a\": [", "{},"),
    ] {
        let name = format!("{greeting}{again}…");
        let (error, cost, said) = refused(&meter, &name, greeting, again, usize::MAX);
        assert!(
            matches!(&error, QemuError::NotQmp(why) if why.contains("too many values")),
            "{error}"
        );
        assert!(said < 5 * MIB, "{said}");
        assert!(cost.heap < 16 * MIB as u64, "{name}: {cost:?}");
    }
    // As many as may be are read, and are no greeting.
    let many = format!("{{\"a\": [{}0]}}\n", "0,".repeat(1_000_000));
    let (error, cost, _) = refused(&meter, "a million values", &many, "", 0);
    assert!(matches!(error, QemuError::NotQmp(_)), "{error}");
    assert!(cost.heap < 200 * MIB as u64, "{cost:?}");
}

#[test]
fn deep_and_giant_values_are_refused_in_bounded_memory() {
    let Some(meter) = alone!() else {
        return;
    };
    let deep = |n| format!("{{\"a\": {}{}}}\n", "[".repeat(n), "]".repeat(n));
    let number = |digits| format!("{{\"QMP\": {}, \"a\": 1e{digits}}}\n", "9".repeat(digits));
    for greeting in [
        deep(1000),
        deep(500_000),
        "]}]}".repeat(1000),
        number(4000),
        format!("{{\"QMP\": 1, \"id\": {}}}\n", "1".repeat(MIB)),
        "{\"QMP\": \"\\ud800\"}\n".into(),
        "{\"QMP\": \u{0}}\n".into(),
    ] {
        let name: String = greeting.chars().take(20).collect();
        let (error, cost, _) = refused(&meter, &name, &greeting, "", 0);
        assert!(
            matches!(error, QemuError::NotQmp(_) | QemuError::Closed { .. }),
            "{name}: {error}"
        );
        assert!(cost.heap < 16 * MIB as u64, "{name}: {cost:?}");
    }
}

/// Events instead of an answer: they are read, and not remembered. The wait
/// ends when the other side does.
#[test]
fn two_hundred_thousand_events_are_not_remembered() {
    let greeting = "{\"QMP\": {}}\n";
    let events: String = (0..2000)
        .map(|n| format!("{{\"event\": \"E{n}\", \"data\": {{}}}}\n"))
        .collect();
    let (error, cost, said) = {
        let Some(meter) = alone!() else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let say = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(greeting.as_bytes()).unwrap();
            for _ in 0..100 {
                stream.write_all(events.as_bytes()).unwrap();
            }
            100 * events.len()
        });
        let (result, cost) = meter.measure("200,000 events", || {
            QemuGuest::connect(&path, QemuOptions::default()).map(drop)
        });
        (result.unwrap_err(), cost, say.join().unwrap())
    };
    assert!(matches!(error, QemuError::Closed { .. }), "{error}");
    assert!(said > 4 * MIB, "{said}");
    assert!(cost.heap < MIB as u64, "{cost:?}");
}
