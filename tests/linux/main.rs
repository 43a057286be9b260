//! What is read of a Linux guest's kernel, on kernels that these tests make
//! up. Real ones are in tests/interop.

#![allow(clippy::unwrap_used, clippy::many_single_char_names)]

mod guest;
mod levels;
mod old_logs;
mod pages;
mod records;
mod ring;
mod seeds;
mod walked;
