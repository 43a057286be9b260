//! Where guest memory comes from, by name.

use std::path::PathBuf;
use std::str::FromStr;

use guestdump::demo::{self, DemoGuest, WindowsGuest, WindowsKind};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::process_core::{Missing, ProcessCoreError};
use guestdump::qemu::{QemuError, QemuGuest, QemuOptions, Standstill};
use guestdump::read::Vmcore;
use guestdump::{DumpOptions, DumpSink, Format, GuestInfo, GuestMemory, Machine, Summary, dump};

use crate::input_file::{open_file, open_input};
use crate::map::{self, Backing, CoreFile, RawGuest};
use crate::number::parse_size;
use crate::report::{Failure, Result};
use crate::settings::Settings;
use crate::signals::Rescue;

/// The name of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceName {
    /// The built-in guest, by size in bytes.
    Demo(u64),
    /// The built-in Windows guest, by kind and size in bytes.
    DemoWindows(WindowsKind, u64),
    /// A file with guest RAM.
    Raw(PathBuf),
    /// A core file of the process that ran the guest.
    ProcessCore(PathBuf),
    /// A dump.
    Vmcore(PathBuf),
    /// The socket of a running QEMU.
    Qmp(PathBuf),
}

/// The built-in Windows guests, by name.
const DEMO_WINDOWS: [(&str, WindowsKind); 3] = [
    ("demo-windows", WindowsKind::X86_64),
    ("demo-windows-i386", WindowsKind::I386),
    ("demo-windows-i386-nopae", WindowsKind::I386NoPae),
];

impl FromStr for SourceName {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (name, rest) = s.split_once(':').unwrap_or((s, ""));
        if let Some((name, kind)) = DEMO_WINDOWS.into_iter().find(|(n, _)| *n == name) {
            let size = if s == name {
                demo::DEFAULT_SIZE
            } else {
                parse_size(rest)?
            };
            return Ok(Self::DemoWindows(kind, size));
        }
        match (name, rest) {
            ("demo", "") if s == "demo" => Ok(Self::Demo(demo::DEFAULT_SIZE)),
            ("demo", size) => parse_size(size).map(Self::Demo),
            ("raw", path) if !path.is_empty() => Ok(Self::Raw(path.into())),
            ("process-core", path) if !path.is_empty() => Ok(Self::ProcessCore(path.into())),
            ("vmcore", path) if !path.is_empty() => Ok(Self::Vmcore(path.into())),
            ("qmp", path) if !path.is_empty() => Ok(Self::Qmp(path.into())),
            _ => Err(
                "name demo[:SIZE], demo-windows[:SIZE], demo-windows-i386[:SIZE], demo-windows-i386-nopae[:SIZE], raw:PATH, process-core:CORE, vmcore:PATH or qmp:SOCKET"
                    .into(),
            ),
        }
    }
}

/// A guest that can be dumped.
pub(crate) enum Source {
    Demo(DemoGuest),
    DemoWindows(WindowsGuest),
    Raw(RawGuest),
    /// The dump and its name in messages.
    Vmcore(Vmcore, String),
    /// A guest that runs, and its socket's name in messages.
    Qemu(Box<QemuGuest>, String),
}

impl Source {
    /// Opens the source. The command line's `settings` override the map's.
    pub(crate) fn open(name: &SourceName, settings: &Settings<'_>) -> Result<Self> {
        match name {
            SourceName::Demo(size) => DemoGuest::new(*size)
                .map(Self::Demo)
                .map_err(|e| Failure::because("cannot make the demo guest", &e)),
            SourceName::DemoWindows(kind, size) => WindowsGuest::of_kind(*kind, *size)
                .map(Self::DemoWindows)
                .map_err(|e| Failure::because("cannot make the demo guest", &e)),
            SourceName::Raw(path) => {
                let guest = match settings.map {
                    Some(map) => map::load(map, Backing::Ram(path), settings)?,
                    None => map::flat(path, settings)?,
                };
                Ok(Self::raw(guest, settings))
            }
            SourceName::ProcessCore(path) => {
                let failure =
                    |e: ProcessCoreError| Failure::because(format!("{}", path.display()), &e);
                let input = open_input(path, settings.nocache)?;
                let core = CoreFile::open(open_file(path)?, input).map_err(failure)?;
                let guest = match settings.map {
                    Some(map) => map::load(map, Backing::Core(&core), settings)?,
                    None => map::find(&core, settings).map_err(failure)?,
                };
                Ok(Self::raw(guest, settings))
            }
            SourceName::Vmcore(path) => {
                let name = path.display().to_string();
                match Vmcore::open(open_file(path)?) {
                    Ok(vmcore) => Ok(Self::Vmcore(vmcore, name)),
                    Err(e) => Err(Failure::because(name, &e)),
                }
            }
            SourceName::Qmp(path) => {
                let options = QemuOptions::new()
                    .include(settings.include)
                    .progress(settings.progress.clone());
                let name = path.display().to_string();
                match QemuGuest::connect(path, options) {
                    Ok(guest) => Ok(Self::Qemu(Box::new(guest), name)),
                    Err(e) => Err(Failure::because(name, &e)),
                }
            }
        }
    }

    fn raw(mut guest: RawGuest, settings: &Settings<'_>) -> Self {
        guest.machine = settings.machine.or(guest.machine);
        guest.page_size = settings.page_size.or(guest.page_size);
        Self::Raw(guest)
    }

    /// Of a core file, what of the guest is not in it.
    pub(crate) fn missing(&self) -> Option<&[Missing]> {
        match self {
            Self::Raw(guest) => guest.missing.as_deref(),
            _ => None,
        }
    }

    /// Why the CPUs' registers in a dump are not known.
    pub(crate) fn unknown_registers(&self) -> Option<&str> {
        match self {
            Self::Vmcore(vmcore, _) => vmcore.unknown_registers(),
            _ => None,
        }
    }

    /// What must happen before the process ends while a dump is written.
    pub(crate) fn rescue(&self) -> Option<Rescue> {
        let Self::Qemu(guest, name) = self else {
            return None;
        };
        let (resumer, name) = (guest.resumer(), name.clone());
        Some(Box::new(move || {
            if let Err(error) = resumer.resume() {
                let _ = not_resumed(&name, &error).finish();
            }
        }))
    }

    /// Stops a guest that runs.
    pub(crate) fn stop(&mut self) -> Result<()> {
        match self {
            Self::Qemu(guest, name) => guest.stop().map_err(|e| Failure::because(name, &e)),
            _ => Ok(()),
        }
    }

    /// Lets a guest run again that ran before, which a dump has done already
    /// if all went well.
    pub(crate) fn resume(&self) -> Result<Option<Standstill>> {
        match self {
            Self::Qemu(guest, name) => guest
                .resume()
                .map(Some)
                .map_err(|error| not_resumed(name, &error)),
            _ => Ok(None),
        }
    }

    /// Writes the dump.
    pub(crate) fn dump(
        &self,
        sink: &mut dyn DumpSink,
        options: &DumpOptions,
    ) -> guestdump::Result<Summary> {
        match self {
            Self::Demo(guest) => dump(guest, sink, options),
            Self::DemoWindows(guest) => dump(guest, sink, options),
            Self::Raw(guest) => dump(&*guest.memory, sink, options),
            Self::Vmcore(vmcore, _) => dump(vmcore, sink, options),
            Self::Qemu(guest, _) => guest.dump(sink, options),
        }
    }

    /// The guest's memory.
    pub(crate) fn memory(&self) -> &dyn GuestMemory {
        match self {
            Self::Demo(guest) => guest,
            Self::DemoWindows(guest) => guest,
            Self::Raw(guest) => &*guest.memory,
            Self::Vmcore(vmcore, _) => vmcore,
            Self::Qemu(guest, _) => &**guest,
        }
    }

    /// The options of a dump in `format`, with what the source knows about the
    /// guest.
    pub(crate) fn options(&self, format: Format) -> Result<DumpOptions> {
        let guest = match self {
            Self::Demo(guest) => GuestInfo::new(Machine::X86_64)
                .cpus(guest.cpus())
                .vmcoreinfo(VmcoreinfoSource::FwCfg(guest.fw_cfg_entry())),
            Self::DemoWindows(guest) => {
                GuestInfo::new(guest.kind().machine()).cpus(guest.registers())
            }
            Self::Raw(guest) => guest.info(),
            Self::Vmcore(vmcore, name) => {
                return vmcore
                    .options(format)
                    .map_err(|e| Failure::because(name, &e));
            }
            Self::Qemu(guest, name) => {
                return guest
                    .options(format)
                    .map_err(|e| Failure::because(name, &e));
            }
        };
        Ok(DumpOptions::new(guest, format))
    }
}

fn not_resumed(name: &str, error: &QemuError) -> Failure {
    Failure::because(
        format_args!("{name}: the guest may stand still, resume it with guestdump qmp-resume"),
        error,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_names() {
        let parse = |s: &str| s.parse::<SourceName>().ok();
        assert_eq!(parse("demo"), Some(SourceName::Demo(demo::DEFAULT_SIZE)));
        assert_eq!(parse("demo:256M"), Some(SourceName::Demo(256 << 20)));
        for (name, kind) in DEMO_WINDOWS {
            let windows = |size| Some(SourceName::DemoWindows(kind, size));
            assert_eq!(parse(name), windows(demo::DEFAULT_SIZE));
            assert_eq!(parse(&format!("{name}:16M")), windows(16 << 20));
            assert_eq!(parse(&format!("{name}:")), None);
        }
        assert_eq!(parse("raw:a:b"), Some(SourceName::Raw("a:b".into())));
        assert_eq!(
            parse("process-core:a:b"),
            Some(SourceName::ProcessCore("a:b".into()))
        );
        assert_eq!(parse("vmcore:x"), Some(SourceName::Vmcore("x".into())));
        assert_eq!(parse("qmp:/x"), Some(SourceName::Qmp("/x".into())));
        for bad in [
            "",
            "qmp:",
            "demo:",
            "process-core:",
            "demo:x",
            "raw",
            "raw:",
            "vmcore:",
            "kdump:x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
