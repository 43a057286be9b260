//! The page pipeline: chunks of guest memory are read and encoded on several
//! threads, placed in the dump in their order, and written.
//!
//! The same chunks are placed in the same order for every number of threads,
//! so the dump is the same too. Memory is bounded: a fixed number of chunks
//! is in work for each thread.
#![forbid(unsafe_code)]

mod chunk;
mod engine;
mod part;
mod run_rest;

pub(crate) use chunk::{CHUNK_SIZE, Chunk, Chunks, LONGEST, LeftOut};
pub(crate) use engine::{Encoder, Written, run};
