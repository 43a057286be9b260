//! What is read of a Linux guest's kernel, on kernels that these tests make
//! up. Real ones are in tests/interop.

mod guest;
mod pages;
mod records;
mod ring;
