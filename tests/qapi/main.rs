//! QEMU's dump commands behind a monitor's own interface: JSON, rules for
//! arguments, and a guest that always runs again.
#![cfg(feature = "qapi")]
#![allow(missing_docs, clippy::unwrap_used)]

mod dispatch;
mod examples;
mod rules;
mod service;
mod vm;
mod windows;
