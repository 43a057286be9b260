//! The kinds' names, what each is, and what its owner can do.
#![forbid(unsafe_code)]

/// Groups of kinds, which decide what a caller does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// A dump that `Vmcore` opens.
    Readable,
    /// One stream of a compressor.
    Compressed,
    /// Any other file.
    Other,
    /// Bytes that the memory of a guest may begin with, too.
    LikeMemory,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $group:ident, $description:literal, $advice:literal;)*) => {
        /// The kind of a file that is not, or not yet, a dump of a guest.
        ///
        /// `Display` says what the file is, as in "a gzip file";
        /// [`advice`](Self::advice) says what its owner can do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FileKind {
            $($(#[$doc])* $kind,)*
        }

        impl FileKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            pub(super) const fn description(self) -> &'static str {
                match self { $(Self::$kind => $description,)* }
            }

            /// Says what the owner of such a file can do, in the imperative.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$kind => $advice,)* }
            }

            const fn group(self) -> Group {
                match self { $(Self::$kind => Group::$group,)* }
            }
        }
    };
}

impl FileKind {
    /// Whether [`Vmcore`](crate::read::Vmcore) opens such files.
    #[must_use]
    pub fn is_readable_dump(self) -> bool {
        self.group() == Group::Readable
    }

    /// Whether the file is one compressed stream, which may contain a dump.
    #[must_use]
    pub fn is_compressed(self) -> bool {
        self.group() == Group::Compressed
    }

    /// Whether a file with nothing but the RAM of a guest may begin in this
    /// way, too: with zeroes, a kernel's image or a device tree.
    #[must_use]
    pub fn may_be_memory(self) -> bool {
        self.group() == Group::LikeMemory
    }
}

kinds! {
    /// An ELF core, of a guest or of a process.
    ElfCore, Readable, "an ELF core", "open it as vmcore:PATH, or as process-core:PATH if it is the core of a VMM's process";
    /// A kdump-compressed dump.
    Kdump, Readable, "a kdump-compressed dump", "open it as vmcore:PATH";
    /// makedumpfile's flattened format.
    Flattened, Readable, "a dump in makedumpfile's flattened format", "open it as vmcore:PATH";
    /// A dump of the Windows kernel.
    WindowsDump, Readable, "a Windows crash dump", "open it as vmcore:PATH";

    /// gzip.
    Gzip, Compressed, "compressed by gzip", "run `gzip -d` first";
    /// zstd.
    Zstd, Compressed, "compressed by zstd", "run `zstd -d` first";
    /// xz.
    Xz, Compressed, "compressed by xz", "run `xz -d` first";
    /// The format of lzma before xz.
    Lzma, Compressed, "compressed by lzma", "run `xz -d --format=lzma` first";
    /// bzip2.
    Bzip2, Compressed, "compressed by bzip2", "run `bzip2 -d` first";
    /// lz4's frames.
    Lz4, Compressed, "compressed by lz4", "run `lz4 -d` first";
    /// lzop.
    Lzop, Compressed, "compressed by lzop", "run `lzop -d` first";
    /// lzip.
    Lzip, Compressed, "compressed by lzip", "run `lzip -d` first";
    /// lrzip.
    Lrzip, Compressed, "compressed by lrzip", "run `lrunzip` first";
    /// Snappy's framing format.
    Snappy, Compressed, "compressed by snappy (framing format)", "decompress it first, with snzip -d for example";
    /// compress, of Unix.
    Compress, Compressed, "compressed by compress (.Z)", "run `gzip -d` first, which reads it too";

    /// A tar archive.
    Tar, Other, "a tar archive", "unpack it with `tar -xf` and name the dump in it";
    /// A zip archive; AFF4 images are such files too.
    Zip, Other, "a zip archive (an AFF4 image is one too)", "unpack it and name the dump in it";
    /// A 7-Zip archive.
    SevenZip, Other, "a 7-Zip archive", "unpack it with `7z x` and name the dump in it";
    /// A RAR archive.
    Rar, Other, "a RAR archive", "unpack it with `unrar x` and name the dump in it";
    /// A cpio archive, such as an initramfs.
    Cpio, Other, "a cpio archive, such as an initramfs", "unpack it with `cpio -i`, or name the dump instead";
    /// An archive of Unix `ar`, such as a Debian package.
    Ar, Other, "an ar archive, such as a Debian package", "name the dump instead";
    /// An RPM package.
    Rpm, Other, "an RPM package", "unpack it with `rpm2cpio FILE | cpio -i`, or name the dump instead";
    /// An EnCase image.
    Ewf, Other, "an EnCase image (EWF, .E01 or .Ex01)", "write its raw contents with `ewfexport`, and open those as raw:PATH";
    /// A Proxmox backup.
    Vma, Other, "a Proxmox backup (VMA)", "unpack it with `vma extract`; dump the guest itself by qmp:SOCKET while it runs";

    /// A state that `virsh save` has saved.
    LibvirtSave, Other, "a libvirt save image (virsh save): QEMU's migration stream after a header", "guestdump does not read it; run `virsh restore --paused FILE`, then dump the guest with `virsh dump --memory-only` or by qmp:SOCKET";
    /// A state whose saving did not finish.
    LibvirtPartialSave, Other, "a libvirt save image that was not finished (LibvirtQemudPart)", "it is incomplete, and libvirt does not restore it; save or dump the guest again";
    /// QEMU's migration stream.
    QemuMigration, Other, "a QEMU migration stream (QEVM), as `virsh dump` without --memory-only writes it", "guestdump does not read it; load it into a paused QEMU with the same machine (-S -incoming), and dump that by qmp:SOCKET; the next time use `virsh dump --memory-only`";
    /// The device state of a Firecracker snapshot.
    FirecrackerState, Other, "the device state of a Firecracker snapshot", "its memory is in the snapshot's other file (mem_file_path): open that as raw:PATH with a map";
    /// Xen's saved domain, of the toolstack xl or older ones.
    XenSave, Other, "a saved Xen domain (xl save)", "guestdump does not read it; run `xl restore -p FILE`, then `xl dump-core DOMAIN CORE`, and open the core";
    /// Xen's dump-core before it was ELF.
    XenOldCore, Other, "an old Xen core (xm dump-core, before it was ELF)", "guestdump does not read it; the program crash does";
    /// VirtualBox's saved state.
    VirtualBoxState, Other, "a VirtualBox saved state (.sav)", "guestdump does not read it; start the machine from it and run `VBoxManage debugvm NAME dumpvmcore --filename CORE`";
    /// VMware's suspended machine or snapshot.
    VmwareState, Other, "a VMware suspended state or snapshot (.vmss, .vmsn)", "open the .vmem file beside it as raw:PATH; if there is none, write a core with VMware's vmss2core";
    /// Hyper-V's saved state.
    HyperVState, Other, "a Hyper-V saved state (.vmrs)", "guestdump does not read it; write its memory to a file with MemProcFS (-device hvsavedstate), and open that file";

    /// A LiME image.
    Lime, Other, "a LiME image", "guestdump does not read it; each range of memory follows a header of 32 bytes: write the ranges into a map for raw:PATH --map (docs/map.md), or convert it with `avml-convert --source-format lime --format raw`";
    /// An AVML image.
    Avml, Other, "an AVML image (compressed LiME)", "guestdump does not read it; convert it with `avml-convert --format raw`, and open the result as raw:PATH";
    /// A Windows dump that DumpIt compressed.
    Zdmp, Other, "a Windows dump compressed by DumpIt (.zdmp)", "guestdump does not read it; decompress it with DumpIt's z2dmp, and open the result as vmcore:PATH";
    /// A sadump dump.
    Sadump, Other, "a sadump dump (Fujitsu stand-alone dump)", "guestdump does not read it; write a kdump with `makedumpfile -d 0 -c -x VMLINUX FILE OUT`, and open that";
    /// An LKCD dump.
    Lkcd, Other, "an LKCD dump", "guestdump does not read it; the program crash does";
    /// A dump of s390's stand-alone tools.
    S390, Other, "an s390 stand-alone dump", "convert it with `zgetdump -f elf FILE > OUT`, and open that as vmcore:PATH";
    /// A dump of the old diskdump.
    Diskdump, Other, "a diskdump dump (before kdump)", "guestdump does not read it; the program crash does";
    /// A partition of the old diskdump.
    DiskdumpPartition, Other, "a dump partition of diskdump (before kdump)", "guestdump does not read it; savecore of diskdump copies the dump out of it";
    /// A minidump of the FreeBSD kernel.
    FreebsdMinidump, Other, "a FreeBSD kernel minidump", "guestdump does not read it; FreeBSD's kgdb does";
    /// A dump partition of FreeBSD.
    FreebsdPartition, Other, "a dump partition of FreeBSD", "guestdump does not read it; FreeBSD's savecore copies the dump out of it";
    /// A dump partition of FreeBSD with a text dump.
    FreebsdTextDump, Other, "a dump partition of FreeBSD with a text dump, which has no guest memory", "FreeBSD's savecore copies the text out of it";
    /// A minidump of a Windows process.
    Minidump, Other, "a minidump of a Windows process (MDMP), which has no guest memory", "look for the kernel's dump, which begins with PAGEDU64 or PAGEDUMP: MEMORY.DMP";
    /// A hibernation file of Windows.
    Hiberfil, Other, "a Windows hibernation file (hiberfil.sys)", "guestdump does not read it; write its memory with volatility3's windows.hibernation.Dump, and open that as raw:PATH";
    /// A Mach-O core.
    MachCore, Other, "a Mach-O core (macOS)", "guestdump does not read it; lldb does";

    /// A qcow2 image, or the first version of it.
    Qcow, Other, "a disk image (qcow2)", "name a dump; if savevm stored the guest's memory in it, start QEMU with -loadvm NAME -S and dump that by qmp:SOCKET";
    /// A QED image.
    Qed, Other, "a disk image (QED)", "a disk has no guest memory: name a dump";
    /// A VirtualBox disk.
    Vdi, Other, "a disk image (VirtualBox VDI)", "a disk has no guest memory: name a dump";
    /// A VMware disk.
    Vmdk, Other, "a disk image (VMDK)", "a disk has no guest memory: name a dump, or the .vmem file of a suspended machine as raw:PATH";
    /// A Virtual PC disk.
    Vhd, Other, "a disk image (VHD)", "a disk has no guest memory: name a dump";
    /// A Hyper-V disk.
    Vhdx, Other, "a disk image (VHDX)", "a disk has no guest memory: name a dump";
    /// A Parallels disk.
    Parallels, Other, "a disk image (Parallels)", "a disk has no guest memory: name a dump";
    /// A Bochs disk.
    Bochs, Other, "a disk image (Bochs)", "a disk has no guest memory: name a dump";
    /// An Apple disk image.
    Dmg, Other, "a disk image (Apple UDIF, .dmg)", "a disk has no guest memory: name a dump";
    /// A disk with a partition table or a boot sector.
    Disk, Other, "a raw disk image (it begins with a boot sector)", "a disk has no guest memory: name a dump";
    /// An encrypted volume.
    Luks, Other, "an encrypted volume (LUKS)", "a disk has no guest memory: name a dump";
    /// A file system.
    FileSystem, Other, "the image of a file system", "mount it, and name the dump in it";
    /// A CD image.
    Iso, Other, "a CD image (ISO 9660)", "mount it, and name the dump in it";
    /// A swap area of Linux.
    Swap, Other, "a Linux swap area, possibly with a hibernated system", "guestdump does not read it; dump the guest while it runs";

    /// A program or library in ELF.
    ElfProgram, Other, "an ELF program, library or object, such as vmlinux, not a core", "name the dump instead; guestdump needs no vmlinux";
    /// A program of Windows or UEFI.
    Pe, Other, "a Windows or UEFI program (PE)", "name the dump instead";
    /// A program of macOS.
    MachProgram, Other, "a Mach-O program (macOS)", "name the dump instead";
    /// A kernel to boot.
    KernelImage, LikeMemory, "a Linux kernel image to boot, such as vmlinuz", "name the dump instead; if it is the RAM of a guest, open it as raw:PATH";
    /// A device tree, with which the RAM of many Arm guests begins.
    DeviceTree, LikeMemory, "a device tree, or the RAM of a guest that begins with one", "name the dump instead; if it is RAM, open it as raw:PATH with --machine and --map";

    /// Text.
    Text, Other, "text, such as a log or the JSON of a snapshot, neither a dump nor memory", "name the file with the memory instead";
    /// A file of no bytes.
    Empty, Other, "empty, neither a dump nor memory", "look whether the program that wrote it failed, or its disk was full";
    /// A file of zeroes.
    AllZero, LikeMemory, "all zeroes, as a file whose writing did not begin", "write the dump again";
    /// A file that begins with zeroes.
    BeginsWithZeroes, LikeMemory, "of an unknown kind that begins with zeroes, as RAM and unfinished dumps do", "if it is the RAM of a guest, open it as raw:PATH";
}
