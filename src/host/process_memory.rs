//! Memory of processes, read by the kernel: process_vm_readv(2).
#![forbid(unsafe_code)]

use std::io::{self, IoSliceMut};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// A process of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// The process that runs this code.
    Own,
    /// The process with this identifier.
    #[cfg(feature = "qemu")]
    Other(u32),
}

impl Process {
    /// Fills `buf` from `address` of the process on.
    ///
    /// # Errors
    ///
    /// If any byte cannot be read: it is not mapped, protected, in a truncated file, or
    /// has a hardware error. Reading it in place would be SIGSEGV or SIGBUS.
    pub(crate) fn read(self, address: u64, mut buf: &mut [u8]) -> io::Result<()> {
        let pid = match self {
            Self::Own => Pid::this(),
            #[cfg(feature = "qemu")]
            Self::Other(pid) => Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?),
        };
        // A process of 32 bits cannot read from one of 64.
        let mut base = usize::try_from(address).map_err(io::Error::other)?;
        while !buf.is_empty() {
            let len = buf.len();
            let n = process_vm_readv(
                pid,
                &mut [IoSliceMut::new(buf)],
                &[RemoteIoVec { base, len }],
            )
            .map_err(|errno| self.error(errno))?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            base += n;
            buf = &mut buf[n..];
        }
        Ok(())
    }

    /// Makes an error of `errno`. `EPERM` of another process is no matter of a page: all of its memory
    /// may no longer be read.
    fn error(self, errno: Errno) -> io::Error {
        match self {
            #[cfg(feature = "qemu")]
            Self::Other(_) if errno == Errno::EPERM => {
                io::Error::new(io::ErrorKind::NotConnected, io::Error::from(errno))
            }
            _ => errno.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn own_memory_is_read_and_unmapped_memory_is_an_error() {
        let bytes: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
        let mut read = vec![0; bytes.len()];
        let address = bytes.as_ptr().addr() as u64;
        Process::Own.read(address, &mut read).unwrap();
        assert_eq!(read, bytes);
        assert!(Process::Own.read(0x1000, &mut [0; 2]).is_err());
    }

    #[test]
    #[cfg(feature = "qemu")]
    fn a_process_that_may_not_be_read_is_gone() {
        let error = Process::Other(1).error(Errno::EPERM);
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        assert!(error.to_string().contains("not permitted"), "{error}");
        for (process, errno) in [
            (Process::Other(1), Errno::EFAULT),
            (Process::Own, Errno::EPERM),
        ] {
            assert_eq!(process.error(errno).raw_os_error(), Some(errno as i32));
        }
    }
}
