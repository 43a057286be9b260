//! Sinks that write a dump to a file, by path or by descriptor.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, linkat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::sink::output_file::OutputFile;
use crate::sink::{DumpSink, SinkAccess};

/// A positioned sink that writes a temporary file beside `path` and renames it to `path` when the
/// dump is finished. A sink that is dropped unfinished removes the temporary file; a file that had
/// the name before is untouched.
///
/// Symbolic links in the folders of `path` are followed once. After that, the sink uses the folder
/// by its descriptor. A symbolic link at `path` itself is never followed, even if it appears while
/// the dump is written. Other hard links to an overwritten file keep the old file.
#[derive(Debug)]
pub struct FileSink {
    output: OutputFile,
    folder: File,
    name: OsString,
    temporary: Option<OsString>,
    options: FileSinkOptions,
}

/// Options of a [`FileSink`].
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct FileSinkOptions {
    /// Replaces a file that has the name already. Without this option, such a file is an error,
    /// even if it appears while the dump is written.
    pub overwrite: bool,
    /// Waits until the dump is on the disk (`fsync`) before the file gets its name, and until the
    /// name is on the disk too.
    pub sync: bool,
    /// Keeps the dump out of the host's page cache, as dd's `oflag=nocache` with `conv=fdatasync`
    /// does. The dump goes to the disk while it is written, and at most 64 MiB wait in memory. This
    /// is for real disks; tmpfs ignores it.
    pub nocache: bool,
}

impl FileSinkOptions {
    /// Returns the defaults: a new file, which the system writes to the disk at a time of its
    /// choice.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            overwrite: false,
            sync: false,
            nocache: false,
        }
    }

    /// Sets [`overwrite`](Self::overwrite).
    #[must_use]
    pub const fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Sets [`sync`](Self::sync).
    #[must_use]
    pub const fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Sets [`nocache`](Self::nocache).
    #[must_use]
    pub const fn nocache(mut self, nocache: bool) -> Self {
        self.nocache = nocache;
        self
    }
}

impl FileSink {
    /// Creates a sink for the file `path`, which only its owner can read and write.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::AlreadyExists`] if the file exists and `options` do not allow to
    ///   overwrite it;
    /// - [`io::ErrorKind::InvalidInput`] if `path` names something other than a regular file, or
    ///   does not end in a file name;
    /// - the system's error if the folder cannot be opened or the temporary file cannot be made.
    pub fn create(path: impl AsRef<Path>, options: FileSinkOptions) -> io::Result<Self> {
        let (folder, name) = split(path.as_ref())?;
        let folder = open_folder(folder, options.sync)?;
        match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                return Err(invalid("it exists and is not a regular file"));
            }
            Ok(_) if !options.overwrite => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let (file, temporary) = create_temporary(&folder)?;
        Ok(Self {
            output: OutputFile::new(file, options.nocache),
            folder,
            name: name.to_owned(),
            temporary: Some(temporary),
            options,
        })
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Splits `path` into its folder and the name in it.
fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = path
        .file_name()
        // `Path` treats `x/` and `x/.` as `x`; the system does not.
        .filter(|name| path.as_os_str().as_bytes().ends_with(name.as_bytes()))
        .ok_or_else(|| invalid("the path has no file name"))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    Ok((folder.unwrap_or(Path::new(".")), name))
}

/// Opens `folder`. `O_PATH` needs no right to list the folder, but `fsync` does not accept such a
/// descriptor.
fn open_folder(folder: &Path, sync: bool) -> io::Result<File> {
    let how = if sync { OFlags::RDONLY } else { OFlags::PATH };
    let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?.into())
}

/// Makes a new file in `folder`. Its name contains the process id and a counter, so that dumps do
/// not share a file.
fn create_temporary(folder: &File) -> io::Result<(File, OsString)> {
    let owner_only = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for attempt in 0..1000 {
        let name = format!(".guestdump-{}-{attempt}.partial", std::process::id());
        match rustix::fs::openat(folder, &name, flags, owner_only) {
            Ok(file) => {
                // Sets the mode again, because the umask may have removed bits. A file system
                // without permissions refuses that.
                let _ = rustix::fs::fchmod(&file, owner_only);
                return Ok((file.into(), name.into()));
            }
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl DumpSink for FileSink {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Positioned(&self.output)
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(temporary) = &self.temporary else {
            return Ok(());
        };
        self.output.finish()?;
        if self.options.sync {
            self.output.file.sync_all()?;
        }
        if self.options.overwrite {
            renameat(&self.folder, temporary, &self.folder, &self.name)?;
        } else {
            rename_new(&self.folder, temporary, &self.name)?;
        }
        self.temporary = None;
        if self.options.sync {
            self.folder.sync_all()?;
        }
        Ok(())
    }
}

/// Renames without replacing. On a file system that cannot do that in one step, this links and
/// unlinks.
fn rename_new(folder: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(folder, from, folder, to, AtFlags::empty())?;
            Ok(unlinkat(folder, from, AtFlags::empty())?)
        }
        result => Ok(result?),
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // A file that stays is recognizable by its suffix `.partial`.
            let _ = unlinkat(&self.folder, temporary, AtFlags::empty());
        }
    }
}

/// A sink for an open file descriptor of the caller.
///
/// The sink is positioned if the descriptor is an empty regular file at position 0 that is not open
/// for appending. For anything else it is a stream from the present position on: a pipe, a socket,
/// a terminal, a file with contents.
///
/// The descriptor may be non-blocking (`O_NONBLOCK`); the dump then waits. If the dump fails, the
/// bytes that were written stay, and they say that the dump is incomplete.
#[derive(Debug)]
pub struct FdSink {
    output: OutputFile,
    positioned: bool,
    /// Whether the descriptor is a regular file.
    regular: bool,
    sync: bool,
}

impl FdSink {
    /// Makes a sink for `fd`.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::PermissionDenied`] if the descriptor is not open for writing;
    /// - the system's error if the descriptor's kind cannot be found out.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        if flags & OFlags::RWMODE == OFlags::RDONLY {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the file descriptor is not open for writing",
            ));
        }
        let mut file = File::from(fd);
        let meta = file.metadata()?;
        let regular = meta.is_file();
        let positioned = regular
            && meta.len() == 0
            && !flags.contains(OFlags::APPEND)
            && file.stream_position()? == 0;
        Ok(Self {
            output: OutputFile::new(file, false),
            positioned,
            regular,
            sync: false,
        })
    }

    /// Sets whether the dump is kept out of the host's page cache, as [`FileSinkOptions::nocache`]
    /// does. This applies only to a regular file.
    #[must_use]
    pub fn nocache(self, nocache: bool) -> Self {
        Self {
            output: OutputFile::new(self.output.file, nocache && self.regular),
            ..self
        }
    }

    /// Sets whether [`DumpSink::finish`] waits until the dump is on the disk (`fsync`). A caller
    /// who created the file must also sync its folder.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if the descriptor is neither a regular file nor a block
    /// device, because only those are on a disk.
    pub fn sync(mut self, sync: bool) -> io::Result<Self> {
        let kind = self.output.file.metadata()?.file_type();
        if sync && !kind.is_file() && !kind.is_block_device() {
            return Err(invalid("what is no file cannot be synced to a disk"));
        }
        self.sync = sync;
        Ok(self)
    }
}

impl DumpSink for FdSink {
    fn access(&mut self) -> SinkAccess<'_> {
        if self.positioned {
            SinkAccess::Positioned(&self.output)
        } else {
            SinkAccess::Stream(&mut self.output)
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.output.finish()?;
        if self.positioned {
            // Another user of the same descriptor continues after the dump.
            self.output.file.seek(io::SeekFrom::End(0))?;
        }
        if self.sync {
            self.output.file.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    fn write(sink: &mut dyn DumpSink, bytes: &[u8]) {
        match sink.access() {
            SinkAccess::Positioned(p) => assert_eq!(p.write_at(0, bytes).unwrap(), bytes.len()),
            SinkAccess::Stream(s) => s.write_all(bytes).unwrap(),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_finished_file_appears_under_its_name_only_at_the_end() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump");
        let mut sink = FileSink::create(&path, FileSinkOptions::default().sync(true)).unwrap();
        write(&mut sink, b"hello");
        assert!(!path.exists());
        sink.finish().unwrap();
        drop(sink);
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()), ["dump"]);
    }

    #[test]
    fn an_unfinished_file_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump");
        std::fs::write(&path, b"old").unwrap();
        let refused = FileSink::create(&path, FileSinkOptions::default()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        let mut sink = FileSink::create(&path, FileSinkOptions::default().overwrite(true)).unwrap();
        write(&mut sink, b"new");
        drop(sink);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["dump"]);
        let mut sink = FileSink::create(&path, FileSinkOptions::default().overwrite(true)).unwrap();
        write(&mut sink, b"new");
        sink.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump");
        let mut sink = FileSink::create(&path, FileSinkOptions::default()).unwrap();
        write(&mut sink, b"new");
        std::fs::write(&path, b"somebody else's").unwrap();
        let error = sink.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        drop(sink);
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody else's");
        assert_eq!(names(folder.path()), ["dump"]);
    }

    #[test]
    fn links_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link");
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        for path in [&path, folder.path()] {
            let error =
                FileSink::create(path, FileSinkOptions::default().overwrite(true)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }

    #[test]
    fn a_path_without_a_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for name in ["x/", "x/.", "x/..", ".."] {
            let error = FileSink::create(folder.join(name), FileSinkOptions::default());
            assert_eq!(
                error.unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{name}"
            );
        }
        let error = FileSink::create(folder.join("no/x"), FileSinkOptions::default());
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(names(folder).is_empty());
    }

    #[test]
    fn only_files_can_be_synced() {
        let file = FdSink::new(tempfile::tempfile().unwrap().into()).unwrap();
        file.sync(true).unwrap().finish().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = || FdSink::new(writer.try_clone().unwrap().into()).unwrap();
        pipe().sync(false).unwrap();
        let error = pipe().sync(true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_pipe_that_does_not_block_is_waited_for() {
        use std::io::Read;
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut sink = FdSink::new(writer.into()).unwrap();
        let bytes: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
        let read = std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                // Waits until the pipe is full and the writer waits.
                std::thread::sleep(std::time::Duration::from_millis(50));
                let mut read = Vec::new();
                reader.read_to_end(&mut read).map(|_| read)
            });
            write(&mut sink, &bytes);
            drop(sink);
            reading.join().unwrap().unwrap()
        });
        assert!(read == bytes);
    }

    #[test]
    fn descriptors_are_positioned_only_if_empty_regular_files() {
        let positioned = |file: File| {
            let mut sink = FdSink::new(file.into()).unwrap();
            matches!(sink.access(), SinkAccess::Positioned(_))
        };
        assert!(positioned(tempfile::tempfile().unwrap()));
        let mut used = tempfile::tempfile().unwrap();
        used.write_all(b"something").unwrap();
        assert!(!positioned(used));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("append");
        let append = File::options().append(true).create(true).open(&path);
        assert!(!positioned(append.unwrap()));
        let (_reader, writer) = io::pipe().unwrap();
        assert!(!positioned(File::from(OwnedFd::from(writer))));
        let read_only = File::open(&path).unwrap();
        let error = FdSink::new(read_only.into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
