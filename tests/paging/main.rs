//! The guest's page tables: addresses translated, mappings listed, bounds
//! kept whatever the tables say, and dumps with guest-virtual addresses.
#![allow(missing_docs, clippy::unwrap_used)]

mod aarch64;
mod dumps;
mod hostile;
mod ppc64;
mod riscv;
mod s390x;
mod tables;
mod x86;
