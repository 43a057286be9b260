//! Where guest memory comes from, by name.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use guestdump::demo::{self, DemoGuest, WindowsGuest, WindowsKind};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::process_core::{Missing, ProcessCoreError};
use guestdump::qemu::{QemuError, QemuGuest, QemuOptions, Standstill};
use guestdump::read::{FileKind, ReadAt, Vmcore};
use guestdump::{DumpOptions, DumpSink, Format, GuestInfo, GuestMemory, Machine, Summary, dump};

use crate::input_file::{kind, not_a_socket, open_file, open_input, open_to_convert};
use crate::map::{self, Backing, CoreFile, RawGuest};
use crate::number::parse_size;
use crate::paths::{Shown, exists, shown};
use crate::placed::Placed;
use crate::raw_file;
use crate::report::{Failure, Result};
use crate::settings::Settings;
use crate::signals::Rescue;
use crate::vmcore_file;

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
    /// A file without the name of its kind, which must be a dump.
    Path(PathBuf),
    /// The parts of a dump that was split.
    Parts(Vec<PathBuf>),
    /// The socket of a running QEMU.
    Qmp(PathBuf),
}

/// The built-in Windows guests, by name.
const DEMO_WINDOWS: [(&str, WindowsKind); 3] = [
    ("demo-windows", WindowsKind::X86_64),
    ("demo-windows-i386", WindowsKind::I386),
    ("demo-windows-i386-nopae", WindowsKind::I386NoPae),
];

/// The names of sources, for messages.
const NAMES: &str = "name PATH or vmcore:PATH (a dump), demo[:SIZE], demo-windows[:SIZE], demo-windows-i386[:SIZE], demo-windows-i386-nopae[:SIZE], raw:PATH, process-core:CORE or qmp:SOCKET";

impl SourceName {
    /// Parses the name of a source. The error is a message for people.
    pub(crate) fn parse(name: &OsStr) -> Result<Self, String> {
        let bytes = name.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':');
        let path = |at: usize| PathBuf::from(OsStr::from_bytes(&bytes[at + 1..]));
        let scheme = colon.map(|at| (&bytes[..at], path(at)));
        match scheme {
            Some((b"raw" | b"process-core" | b"vmcore" | b"qmp", path))
                if path.as_os_str().is_empty() =>
            {
                Err(NAMES.into())
            }
            Some((b"raw", path)) => Ok(Self::Raw(path)),
            Some((b"process-core", path)) => Ok(Self::ProcessCore(path)),
            Some((b"vmcore", path)) => Ok(Self::Vmcore(path)),
            Some((b"qmp", path)) => Ok(Self::Qmp(path)),
            scheme => match name.to_str().map(Self::demo) {
                Some(Ok(Some(demo))) => Ok(demo),
                Some(Err(error)) => Err(error),
                // What looks like an unknown scheme may be the name of a file.
                _ if bytes.is_empty() || is_scheme(scheme.map(|(s, _)| s)) && !exists(name) => {
                    Err(NAMES.into())
                }
                _ => Ok(Self::Path(name.into())),
            },
        }
    }

    /// Returns the source that several names mean: one name, or the parts of a split dump.
    pub(crate) fn together(names: &[Self]) -> Result<Self> {
        if let [name] = names {
            return Ok(name.clone());
        }
        let path = |name: &Self| match name {
            Self::Path(path) | Self::Vmcore(path) => Some(path.clone()),
            _ => None,
        };
        let paths: Option<Vec<_>> = names.iter().map(path).collect();
        paths.map(Self::Parts).ok_or_else(|| {
            Failure::usage(
                "several --from are the parts of one split dump; name PATH or vmcore:PATH for each",
            )
        })
    }

    /// Parses the name of a built-in guest; `None` for another name.
    fn demo(s: &str) -> Result<Option<Self>, String> {
        let (name, rest) = s.split_once(':').unwrap_or((s, ""));
        if let Some((name, kind)) = DEMO_WINDOWS.into_iter().find(|(n, _)| *n == name) {
            let size = if s == name {
                demo::DEFAULT_SIZE
            } else {
                parse_size(rest)?
            };
            return Ok(Some(Self::DemoWindows(kind, size)));
        }
        match (name, rest) {
            ("demo", "") if s == "demo" => Ok(Some(Self::Demo(demo::DEFAULT_SIZE))),
            ("demo", size) => parse_size(size).map(|size| Some(Self::Demo(size))),
            _ => Ok(None),
        }
    }
}

/// Whether the text before a colon looks like the name of a kind of source.
fn is_scheme(text: Option<&[u8]>) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.is_some_and(|text| text.iter().all(is_part))
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
                    None => raw_file::open(path, settings)?,
                };
                Ok(Self::raw(guest, settings))
            }
            SourceName::ProcessCore(path) => {
                let failure = |e| process_core_failure(path, &e);
                let file = open_file(path)?;
                let spooled = vmcore_file::unpacked(&file, settings.spool, &settings.progress)
                    .map_err(|e| Failure::because(Shown(path), &e))?;
                let core = match spooled {
                    Some(spooled) => {
                        let input = spooled.try_clone();
                        let input = input.map_err(|e| Failure::because(Shown(path), &e))?;
                        CoreFile::open(spooled, input.shared())
                    }
                    None => CoreFile::open(file, open_input(path, settings.nocache)?),
                }
                .map_err(failure)?;
                let guest = match settings.map {
                    Some(map) => map::load(map, Backing::Core(&core), settings)?,
                    None => map::find(&core, settings).map_err(failure)?,
                };
                Ok(Self::raw(guest, settings))
            }
            SourceName::Vmcore(path) => Self::vmcore(path, open_to_convert(path)?, settings),
            SourceName::Path(path) => Self::vmcore(path, open_dump(path)?, settings),
            SourceName::Parts(paths) => {
                let name = shown(paths);
                match vmcore_file::open_parts(paths, settings.spool, &settings.progress)? {
                    Ok(vmcore) => Ok(Self::Vmcore(vmcore, name)),
                    Err(e) => Err(Failure::because(name, &e)),
                }
            }
            SourceName::Qmp(path) => {
                let options = QemuOptions::new()
                    .include(settings.include)
                    .progress(settings.progress.clone());
                let name = Shown(path).to_string();
                match QemuGuest::connect(path, options) {
                    Ok(guest) => Ok(Self::Qemu(Box::new(guest), name)),
                    Err(e) => Err(not_a_socket(path).unwrap_or_else(|| Failure::because(name, &e))),
                }
            }
        }
    }

    fn vmcore(path: &Path, file: File, settings: &Settings<'_>) -> Result<Self> {
        let name = Shown(path).to_string();
        match vmcore_file::open(file, settings.spool, &settings.progress) {
            Ok(vmcore) => Ok(Self::Vmcore(vmcore, name)),
            Err(e) => Err(Failure::because(name, &e)),
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

    /// Returns where the RAM of a file without a map was taken to lie.
    pub(crate) fn placed(&self) -> Option<&Placed> {
        match self {
            Self::Raw(guest) => guest.placed.as_ref(),
            _ => None,
        }
    }

    /// Returns the reason why the CPUs' registers in a dump are not known.
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

/// Opens a file that is named without its kind. A file that nobody can tell is
/// not a dump, and may be RAM.
fn open_dump(path: &Path) -> Result<File> {
    let file = open_to_convert(path)?;
    let is_regular = file.metadata().is_ok_and(|meta| meta.is_file());
    if is_regular && kind(&file).is_none_or(FileKind::may_be_memory) {
        let name = Shown(path);
        let what = kind(&file).map_or_else(
            || "of no kind of dump that guestdump knows".to_owned(),
            |kind| kind.to_string(),
        );
        return Err(Failure::new(format!(
            "{name} is {what}; if it is the RAM of a guest, write raw:{name}"
        )));
    }
    Ok(file)
}

/// Returns the failure of a core file. The message names the kind of a file that
/// is a dump.
fn process_core_failure(path: &Path, error: &ProcessCoreError) -> Failure {
    let kind = match error {
        ProcessCoreError::NotACore => open_file(path).ok().and_then(|file| kind(&file)),
        _ => None,
    };
    match kind.filter(|kind| kind.is_readable_dump()) {
        Some(kind) => Failure::new(format!(
            "{0} is {kind}, not the core of a process; write vmcore:{0}",
            Shown(path)
        )),
        None => Failure::because(Shown(path), error),
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
        let parse = |s: &str| SourceName::parse(OsStr::new(s)).ok();
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
        for path in ["x", "raw", "./demo", "/a:b", "dir/vmcore:x"] {
            assert_eq!(parse(path), Some(SourceName::Path(path.into())));
        }
        let odd = OsStr::from_bytes(b"raw:\xff");
        let path = PathBuf::from(OsStr::from_bytes(b"\xff"));
        assert_eq!(SourceName::parse(odd), Ok(SourceName::Raw(path)));
        for bad in [
            "",
            "qmp:",
            "demo:",
            "process-core:",
            "demo:x",
            "raw:",
            "vmcore:",
            "kdump:x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
