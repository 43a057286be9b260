//! Dumps of guests of every architecture, and what QEMU's have wrong.
#![allow(missing_docs, clippy::unwrap_used)]

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::read::{Headers, Vmcore};
use guestdump::sink::BufferSink;
use guestdump::{
    Class, CpuState, DumpOptions, Error, Format, GuestInfo, GuestMemory, Machine, Progress,
    Refusal, arch, dump,
};
use testkit::options::With;
use testkit::{Page, PageMemory, open, written};

const GIB: u64 = 1 << 30;

/// A few pages of each kind from `start` on.
fn guest(start: u64) -> PageMemory {
    use Page::{Random, Text, Zero};
    PageMemory::new([(start, [Text(1), Zero, Random(2), Text(3)].repeat(16))])
}

fn options(format: Format, machine: Machine, info: &str) -> DumpOptions {
    let info = format!("OSRELEASE=6.1.0\n{info}").into_bytes();
    DumpOptions::new(
        GuestInfo::new(machine).vmcoreinfo(VmcoreinfoSource::Bytes(info)),
        format,
    )
}

/// The kdump formats with positions, as far as there are codecs.
fn kdump() -> impl Iterator<Item = Format> {
    Format::available().filter(|format| format.needs_positions())
}

/// What kdump's headers say: phys_base, max_mapnr, offset of the bitmaps.
fn kdump_header(vmcore: &Vmcore) -> (u64, u64, u64) {
    let Headers::Kdump { main, sub, .. } = vmcore.headers() else {
        panic!("no kdump");
    };
    let bitmaps = (1 + main.sub_hdr_size) * main.block_size;
    (sub.phys_base, sub.max_mapnr_64, bitmaps.into())
}

#[test]
fn every_machine_in_every_format_is_read_back() {
    for machine in Machine::ALL.iter().copied() {
        let guest = guest(2 * GIB);
        for format in Format::available().filter(|format| !format.is_windows()) {
            let bytes = written(&guest, &options(format, machine, ""));
            let vmcore = open(&bytes);
            assert_eq!(vmcore.machine(), Some(machine), "{format}");
            assert_eq!(vmcore.encoding(), machine.encoding(), "{format}");
            vmcore.check(&Progress::new()).unwrap();
            assert_eq!(vmcore.ranges(), guest.ranges(), "{machine} {format}");
            let mut page = vec![0; 4096];
            for (gpa, expected) in guest.pages() {
                vmcore.read(gpa, &mut page).unwrap();
                assert!(page == expected.bytes(), "{machine} {format} {gpa:#x}");
            }
            if let Headers::Kdump { main, .. } = vmcore.headers() {
                let name = guestdump::abi::Utsname::text(&main.utsname.machine);
                assert_eq!(name, machine.uname());
                let page_size = machine.default_page_size();
                assert_eq!(u64::from(main.block_size), page_size);
            }
        }
    }
}

/// Which of the two kinds of 32-bit headers it is, only the machine says.
#[test]
fn kdump_of_32_bit_guest_without_vmcoreinfo_is_read_by_its_machine() {
    let cpus: [(Machine, CpuState); 3] = [
        (Machine::I386, arch::i386::Registers::default().into()),
        (Machine::Arm, arch::arm::Registers::default().into()),
        (Machine::Riscv32, arch::riscv::Registers::default().into()),
    ];
    for (machine, cpu) in cpus {
        for format in kdump() {
            let guest = guest(2 * GIB);
            let options = DumpOptions::new(
                GuestInfo::new(machine)
                    .vmcoreinfo(VmcoreinfoSource::None)
                    .cpus([cpu.clone(), cpu.clone()]),
                format,
            );
            let vmcore = open(&written(&guest, &options));
            assert_eq!(vmcore.machine(), Some(machine), "{format}");
            assert_eq!(vmcore.cpus(), 2, "{machine}");
            assert_eq!(vmcore.ranges(), guest.ranges(), "{machine}");
        }
    }
}

#[test]
fn elf_of_riscv32_with_memory_above_4_gib_is_64_bit_and_names_the_machine() {
    let options = options(Format::Elf, Machine::Riscv32, "");
    let options = options.with_guest(|guest| guest.cpus([arch::riscv::Registers::default()]));
    let vmcore = open(&written(&guest(5 * GIB), &options));
    assert_eq!(vmcore.encoding().class, Class::Bits64);
    assert_eq!(vmcore.machine(), Some(Machine::Riscv32));
}

/// The header's 32 bits for `phys_base` would put all pages somewhere else.
#[test]
fn kdump_of_arm_with_ram_from_above_4_gib_on_is_refused() {
    for format in kdump() {
        let options = options(format, Machine::Arm, "");
        let refused = dump(&guest(5 * GIB), &mut BufferSink::new(), &options).unwrap_err();
        assert!(refused.is_refusal(), "{refused}");
        assert!(
            matches!(refused, Error::Refused(Refusal::AddressTooHigh { format: f, .. }) if f == format),
            "{refused}"
        );
    }
    let elf = written(&guest(5 * GIB), &options(Format::Elf, Machine::Arm, ""));
    assert_eq!(open(&elf).ranges(), guest(5 * GIB).ranges());
}

#[cfg(feature = "serde")]
mod registers {
    use super::*;
    use serde_json::Value;

    /// Every number that is 0 gets a value of its own.
    fn fill(value: &mut Value, next: &mut u32) {
        match value {
            Value::String(text) if text == "0x0" => {
                *next += 1;
                *text = format!("{next:#x}");
            }
            Value::Array(values) => values.iter_mut().for_each(|v| fill(v, next)),
            Value::Object(fields) => fields.values_mut().for_each(|v| fill(v, next)),
            _ => {}
        }
    }

    #[test]
    fn those_of_every_machine_go_through_json_and_notes() {
        for machine in Machine::ALL.iter().copied() {
            let new = |json: &Value| CpuState::deserialize_for(machine, json).unwrap();
            let mut json = serde_json::to_value(new(&serde_json::json!({}))).unwrap();
            let mut count = 0;
            fill(&mut json, &mut count);
            assert!(count > 15, "{machine}");
            let cpus = [new(&json), new(&serde_json::json!({}))];
            assert!(cpus.iter().all(|cpu| cpu.fit(machine)));
            assert_eq!(serde_json::to_value(&cpus[0]).unwrap(), json);

            let options = options(Format::Elf, machine, "");
            let bytes = written(
                &guest(0),
                &options.clone().with_guest(|guest| guest.cpus(cpus)),
            );
            let vmcore = open(&bytes);
            let decoded = machine.decode_notes(vmcore.notes());
            let mut back = serde_json::to_value(&decoded[0]).unwrap();
            // What no note has.
            for name in ["satp", "ttbr0", "ttbr1", "tcr"] {
                if let Some(value) = back.get_mut(name) {
                    *value = json[name].clone();
                }
            }
            assert_eq!(back, json, "{machine}");
            assert_ne!(decoded[0].program_counter(), 0);
            assert_ne!(decoded[0].stack_pointer(), 0);
            let again = written(&guest(0), &options.with_guest(|guest| guest.cpus(decoded)));
            assert!(again == bytes, "{machine}");
        }
    }

    #[test]
    fn those_of_another_machine_are_refused() {
        let json = serde_json::json!({"rip": 1});
        let error = CpuState::deserialize_for(Machine::I386, &json).unwrap_err();
        assert!(error.to_string().contains("rip"));
        let cpu = CpuState::deserialize_for(Machine::X86_64, &json).unwrap();
        assert!(!cpu.fit(Machine::I386));
        let options = options(Format::Elf, Machine::I386, "").with_guest(|guest| guest.cpus([cpu]));
        let mut sink = BufferSink::new();
        assert!(dump(&guest(0), &mut sink, &options).is_err());
    }
}

/// QEMU makes it ELFCLASS64, because its ROM ends at 4 GiB.
#[test]
fn elf_of_i386_whose_rom_ends_at_4_gib_is_32_bit_not_64_as_by_qemu() {
    let with = |second: u64| {
        let rom = vec![Page::Text(9); 64];
        PageMemory::new([(0, guest(0).ranges.remove(0).1), (second, rom)])
    };
    for (second, class) in [
        (4 * GIB - 64 * 4096, Class::Bits32),
        // PAE.
        (4 * GIB, Class::Bits64),
    ] {
        let guest = with(second);
        let options = options(Format::Elf, Machine::I386, "").with_guest(|guest| {
            guest.cpus([arch::i386::Registers {
                eip: 0xc100_0000,
                ..Default::default()
            }])
        });
        let vmcore = open(&written(&guest, &options));
        assert_eq!(vmcore.encoding().class, class);
        let Headers::Elf { header, .. } = vmcore.headers() else {
            panic!("no ELF");
        };
        assert_eq!(header.machine, arch::i386::EM_386);
        assert_eq!(vmcore.machine(), Some(Machine::I386));
        vmcore.check(&Progress::new()).unwrap();
        assert_eq!(vmcore.ranges(), guest.ranges());
        let cpus = Machine::I386.decode_notes(vmcore.notes());
        assert_eq!(cpus[0].program_counter(), 0xc100_0000);
        // Also through kdump, whose header of such a guest is 32-bit.
        for format in kdump() {
            let options = vmcore.options(format).unwrap();
            let kdump = open(&written(&vmcore, &options));
            assert_eq!(kdump.encoding().class, Class::Bits32);
            assert_eq!(kdump.ranges(), guest.ranges());
        }
    }
}

/// QEMU reads the decimal number as hexadecimal.
#[test]
fn phys_base_is_read_as_decimal_not_hexadecimal_as_by_qemu() {
    for format in kdump() {
        let options = options(format, Machine::X86_64, "NUMBER(phys_base)=71303168\n");
        let vmcore = open(&written(&guest(0), &options));
        assert_eq!(kdump_header(&vmcore).0, 0x440_0000);
    }
}

/// QEMU writes phys_base 0. Page frame numbers count from 0 all the same.
#[test]
fn riscv64_phys_base_is_phys_ram_base_not_0_as_by_qemu() {
    let guest = guest(2 * GIB);
    for format in kdump() {
        let info = "NUMBER(phys_ram_base)=2147483648\n";
        let bytes = written(&guest, &options(format, Machine::Riscv64, info));
        let (phys_base, max_mapnr, bitmaps) = kdump_header(&open(&bytes));
        assert_eq!(phys_base, 2 * GIB);
        assert_eq!(max_mapnr, 2 * GIB / 4096 + 64);
        let first = (bitmaps + 2 * GIB / 4096 / 8) as usize;
        assert_eq!(bytes[first - 1], 0);
        assert_eq!(bytes[first..first + 8], [0xff; 8]);
        assert_eq!(bytes[first + 8], 0);
    }
}

/// makedumpfile's and crash's `ARCH_PFN_OFFSET`.
#[test]
fn arms_page_frames_count_from_phys_base() {
    let machines = Machine::ALL.iter().copied();
    for machine in machines.filter(|m| m.frames_from_phys_base()) {
        for format in kdump() {
            // RAM may begin below what the dump has; not above.
            let below = GIB - 8 * 4096;
            for (given, base) in [(None, GIB), (Some(below), below), (Some(2 * GIB), GIB)] {
                let mut options = options(format, machine, "");
                if let Some(base) = given {
                    options = options.with_guest(|guest| guest.phys_base(base));
                }
                let bytes = written(&guest(GIB), &options);
                let vmcore = open(&bytes);
                let (phys_base, max_mapnr, bitmaps) = kdump_header(&vmcore);
                let before = (GIB - base) / 4096;
                assert_eq!((phys_base, max_mapnr), (base, before + 64));
                let first = (bitmaps + before / 8) as usize;
                assert_eq!(bytes[first..first + 8], [0xff; 8]);
                assert_eq!(bytes[first + 8], 0);
                assert_eq!(vmcore.ranges(), guest(GIB).ranges());
                vmcore.check(&Progress::new()).unwrap();
            }
        }
    }
}
