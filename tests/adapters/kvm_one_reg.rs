//! KVM's one-reg pairs. The ids here are computed by hand from the kernel's
//! headers, or taken from what KVM_GET_REG_LIST prints.

use guestdump::adapters::kvm::{OneRegError, aarch64, riscv64};
use guestdump::arch::riscv;

type Pairs = Vec<(u64, Vec<u8>)>;

fn words(pairs: impl IntoIterator<Item = (u64, u64)>) -> Pairs {
    pairs
        .into_iter()
        .map(|(id, value)| (id, value.to_le_bytes().to_vec()))
        .collect()
}

/// x0 to x30, SP_EL0, pc, pstate, SP_EL1, as ids by hand: 0x60300000001000 and
/// twice the number of 64-bit words before it.
fn arm_core(pstate: u64) -> Pairs {
    let core = 0x6030_0000_0010_0000;
    let mut pairs: Vec<_> = (0..31).map(|n| (core + 2 * n, 0x100 + n)).collect();
    pairs.push((core + 62, 0xe10)); // SP_EL0
    pairs.push((core + 64, 0xffff_8000_0801_0000)); // pc
    pairs.push((core + 66, pstate));
    pairs.push((core + 68, 0xe11)); // SP_EL1
    words(pairs)
}

#[test]
fn aarch64_ids_are_the_kernels() {
    // include/uapi/linux/kvm.h and asm/kvm.h, added up by hand.
    assert_eq!(aarch64::x(30), 0x6030_0000_0010_003c);
    assert_eq!(aarch64::PC, 0x6030_0000_0010_0040);
    assert_eq!(aarch64::PSTATE, 0x6030_0000_0010_0042);
    assert_eq!(aarch64::SP_EL1, 0x6030_0000_0010_0044);
    assert_eq!(aarch64::v(0), 0x6040_0000_0010_0054);
    assert_eq!(aarch64::v(31), 0x6040_0000_0010_00d0);
    assert_eq!(aarch64::FPSR, 0x6020_0000_0010_00d4);
    assert_eq!(aarch64::FPCR, 0x6020_0000_0010_00d5);
    assert_eq!(aarch64::ZCR_EL1, 0x6030_0000_0013_c090);
    assert_eq!(aarch64::TTBR0_EL1, 0x6030_0000_0013_c100);
    assert_eq!(aarch64::TTBR1_EL1, 0x6030_0000_0013_c101);
    assert_eq!(aarch64::TCR_EL1, 0x6030_0000_0013_c102);
    assert_eq!(aarch64::SP_EL2, 0x6030_0000_0013_f208);
    assert_eq!(aarch64::z(31), 0x6080_0000_0015_03e0);
    assert_eq!(aarch64::p(15), 0x6050_0000_0015_05e0);
    assert_eq!(aarch64::FFR, 0x6050_0000_0015_0600);
    assert_eq!(aarch64::SVE_VLS, 0x6060_0000_0015_ffff);
}

#[test]
fn aarch64_registers_are_taken_by_id_in_any_order() {
    let mut pairs = arm_core(0x6000_03c5); // EL1h
    pairs.push((aarch64::v(2), vec![0x22; 16]));
    pairs.push((aarch64::FPSR, vec![0x10, 0, 0, 8]));
    pairs.push((aarch64::FPCR, vec![0, 0, 0, 3]));
    pairs.extend(words([
        (aarch64::TTBR0_EL1, 0x4100_0000),
        (aarch64::TTBR1_EL1, 0x4200_0000),
        (aarch64::TCR_EL1, 0x35),
        (0x6030_0000_0013_c080, 1), // SCTLR_EL1: no place for it
    ]));
    let r = aarch64::registers(pairs.clone()).unwrap();
    assert_eq!((r.x[0], r.x[30]), (0x100, 0x11e));
    assert_eq!(
        (r.pc, r.pstate, r.sp),
        (0xffff_8000_0801_0000, 0x6000_03c5, 0xe11)
    );
    assert_eq!(r.v[2], u128::from_le_bytes([0x22; 16]));
    assert_eq!((r.fpsr, r.fpcr), (0x0800_0010, 0x0300_0000));
    assert_eq!((r.ttbr0, r.ttbr1, r.tcr), (0x4100_0000, 0x4200_0000, 0x35));
    assert_eq!(r.sve, None);
    pairs.reverse();
    assert_eq!(aarch64::registers(pairs).unwrap(), r);
}

#[test]
fn the_stack_pointer_is_that_of_the_current_level() {
    for (pstate, sp) in [
        (0, 0xe10),
        (4, 0xe10),
        (5, 0xe11),
        (9, 0xe12),
        (0x10, 0xe10),
    ] {
        let mut pairs = arm_core(pstate);
        pairs.extend(words([(aarch64::SP_EL2, 0xe12)]));
        assert_eq!(aarch64::registers(pairs).unwrap().sp, sp, "{pstate:#x}");
    }
}

#[test]
fn scalable_vectors_have_the_length_that_the_kernel_chose() {
    let mut pairs = arm_core(0x3c5);
    for n in 0..32 {
        pairs.push((aarch64::z(n), (0..=255).map(|i| i ^ n as u8).collect()));
    }
    for n in 0..16 {
        pairs.push((aarch64::p(n), vec![n as u8; 32]));
    }
    pairs.push((aarch64::FFR, vec![0xff; 32]));
    // Lengths of 16, 32 and 64 bytes.
    let mut lengths = vec![0; 64];
    lengths[0] = 0b1011;
    pairs.push((aarch64::SVE_VLS, lengths));
    for (zcr, vl) in [(0, 16), (1, 32), (2, 32), (3, 64), (15, 64)] {
        let mut pairs = pairs.clone();
        pairs.extend(words([(aarch64::ZCR_EL1, zcr)]));
        let r = aarch64::registers(pairs).unwrap();
        let sve = r.sve.unwrap();
        assert_eq!((sve.vl, sve.max_vl), (vl, 64), "{zcr}");
        assert_eq!(sve.z[3].len(), usize::from(vl));
        assert_eq!(sve.z[3][..3], [3, 2, 1]);
        assert_eq!(sve.p[15], vec![15; usize::from(vl) / 8]);
        assert_eq!(sve.ffr.len(), usize::from(vl) / 8);
        // KVM has no v registers besides.
        assert_eq!(r.v[1].to_le_bytes()[..3], [1, 0, 3]);
    }
    let without: Pairs = pairs
        .into_iter()
        .filter(|p| p.0 != aarch64::SVE_VLS)
        .collect();
    let error = aarch64::registers(without).unwrap_err();
    assert_eq!(
        error,
        OneRegError::Missing {
            id: aarch64::SVE_VLS,
            name: "KVM_REG_ARM64_SVE_VLS",
        }
    );
}

#[test]
fn missing_registers_and_wrong_sizes_are_refused() {
    let without_pc = arm_core(5).into_iter().filter(|pair| pair.0 != aarch64::PC);
    let error = aarch64::registers(without_pc).unwrap_err();
    let name = "pc";
    assert_eq!(
        error,
        OneRegError::Missing {
            id: aarch64::PC,
            name
        }
    );
    let short = vec![(aarch64::PC, vec![0; 4])];
    let error = aarch64::registers(short).unwrap_err();
    let (len, size) = (4, 8);
    assert_eq!(
        error,
        OneRegError::Size {
            id: aarch64::PC,
            len,
            size
        }
    );
    let error = riscv64::registers(words([(riscv64::user(0), 1)])).unwrap_err();
    assert!(matches!(error, OneRegError::Missing { .. }));
    assert!(aarch64::registers(Pairs::new()).is_err());
}

#[test]
fn riscv_registers_of_both_widths_are_taken_by_id() {
    assert_eq!(riscv64::user(31), 0x8030_0000_0200_001f);
    assert_eq!(riscv64::SATP, 0x8030_0000_0300_0008);
    let wide = (0..32).map(|n| (riscv64::user(n), 0x1000 + n));
    let wide: Vec<_> = wide.chain([(riscv64::SATP, (8 << 60) | 0x80200)]).collect();
    let expected = riscv::Registers {
        satp: (8 << 60) | 0x80200,
        ..riscv64::registers(words((0..32).map(|n| (riscv64::user(n), 0x1000 + n)))).unwrap()
    };
    let r = riscv64::registers(words(wide)).unwrap();
    assert_eq!(r, expected);
    assert_eq!((r.pc, r.ra, r.sp, r.t0), (0x1000, 0x1001, 0x1002, 0x1005));
    assert_eq!(
        (r.s0, r.a0, r.s2, r.t3, r.t6),
        (0x1008, 0x100a, 0x1012, 0x101c, 0x101f)
    );
    let narrow = (0..32u32).map(|n| {
        let id = 0x8020_0000_0200_0000 + u64::from(n);
        (id, (0x1000 + n).to_le_bytes().to_vec())
    });
    let r = riscv64::registers(narrow).unwrap();
    assert_eq!((r.pc, r.t6, r.satp), (0x1000, 0x101f, 0));
}
