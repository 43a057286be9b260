//! Reads the crash data that a guest reported to the hypervisor.
//!
//! Source: QEMU's `target/i386/cpu.c`, the property `crash-information` of a
//! virtual CPU; the answer is a `GuestPanicInformation` of
//! `qapi/run-state.json`.

use serde_json::{Value, json};

use crate::qemu::error::QemuError;
use crate::qemu::qmp::Qmp;

/// Returns the first virtual CPU that reported a crash, and Hyper-V's crash registers,
/// `HV_X64_MSR_CRASH_P0` to `P4`.
pub(super) fn crash_registers(qmp: &mut Qmp) -> Result<Option<(usize, [u64; 5])>, QemuError> {
    let cpus = qmp.execute("query-cpus-fast", json!({}))?;
    let cpus = cpus.as_array().into_iter().flatten();
    for (index, cpu) in cpus.enumerate() {
        let path = cpu.get("qom-path").and_then(Value::as_str);
        let property = json!({ "path": path, "property": "crash-information" });
        match qmp.execute("qom-get", property) {
            Ok(crash) => {
                if let Some(registers) = hyper_v(&crash) {
                    return Ok(Some((index, registers)));
                }
            }
            // QEMU refuses this for a CPU that has not crashed or reports nothing.
            Err(QemuError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn hyper_v(crash: &Value) -> Option<[u64; 5]> {
    (crash.get("type")? == "hyper-v").then_some(())?;
    let mut registers = [0; 5];
    for (register, name) in registers
        .iter_mut()
        .zip(["arg1", "arg2", "arg3", "arg4", "arg5"])
    {
        *register = crash.get(name)?.as_u64()?;
    }
    Some(registers)
}
