//! The engine: takes chunks, encodes them on threads, places them in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Chunk, Chunks};
use crate::fault::Fault;
use crate::workers::{Progress, Threads, panic_message};

/// The figures of a written dump.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// Pages in the dump.
    pub(crate) pages: u64,
    /// Pages of these that are all zero.
    pub(crate) zero_pages: u64,
    /// Length of the dump in bytes, holes included.
    pub(crate) file_size: u64,
}

/// The steps of a dump format for each chunk.
pub(crate) trait Encoder: Sync {
    /// The state that a thread needs to encode: buffers, a compressor.
    type Worker;
    /// An encoded chunk. Blocks are used again and again, so that their
    /// buffers are allocated once.
    type Block: Default + Send;
    /// The state that decides where the next block goes in the dump.
    type Layout: Send;

    fn worker(&self) -> Result<Self::Worker, Fault>;

    /// Reads and encodes `chunk` into `block`, which may hold another chunk.
    fn encode(
        &self,
        worker: &mut Self::Worker,
        chunk: &Chunk,
        block: &mut Self::Block,
    ) -> Result<(), Fault>;

    /// Gives the block its place. Called for every block, in order.
    fn place(&self, layout: &mut Self::Layout, block: &mut Self::Block) -> Result<(), Fault>;

    /// Writes the block to its place.
    fn write(&self, block: &Self::Block) -> Result<(), Fault>;

    /// Whether blocks must be written in order, one at a time. If not, each
    /// thread writes what it has placed, which is mostly what it has encoded
    /// and still has in its core's cache.
    fn in_order(&self) -> bool;
}

/// Chunks that wait for their place, for each thread: one in work and one
/// that waits for an earlier chunk of another thread. A third may be on its
/// way to the sink.
const CHUNKS_PER_THREAD: u64 = 2;

/// Runs all `chunks` through `encoder` on `threads`. Returns the final layout;
/// after a failure, that of all blocks that have their place.
pub(crate) fn run<E: Encoder>(
    encoder: &E,
    layout: E::Layout,
    chunks: Chunks<'_>,
    threads: Threads<'_>,
    progress: &Progress,
) -> (E::Layout, Result<(), Fault>) {
    let engine = Engine {
        encoder,
        progress,
        window: threads.count as u64 * CHUNKS_PER_THREAD,
        state: Mutex::new(State {
            chunks,
            taken: 0,
            placed: 0,
            ready: BTreeMap::new(),
            placing: false,
            spare: Vec::new(),
            failure: None,
        }),
        layout: Mutex::new(layout),
        changed: Condvar::new(),
    };
    threads.run(&|| engine.work());
    let state = engine.state.into_inner();
    let failure = state.unwrap_or_else(PoisonError::into_inner).failure;
    let layout = engine.layout.into_inner();
    let layout = layout.unwrap_or_else(PoisonError::into_inner);
    (layout, failure.map_or(Ok(()), Err))
}

struct Engine<'a, 'c, E: Encoder> {
    encoder: &'a E,
    progress: &'a Progress,
    /// Most chunks that are taken and not placed.
    window: u64,
    state: Mutex<State<'c, E>>,
    /// Nobody waits for it: who has set `State::placing` uses it.
    layout: Mutex<E::Layout>,
    changed: Condvar,
}

struct State<'c, E: Encoder> {
    chunks: Chunks<'c>,
    /// Chunks handed to threads so far.
    taken: u64,
    /// Blocks that have their place so far.
    placed: u64,
    /// Encoded chunks, by number, that wait for an earlier one.
    ready: BTreeMap<u64, (Chunk, E::Block)>,
    /// Somebody places a block, and if blocks are written in order, writes it.
    placing: bool,
    spare: Vec<E::Block>,
    failure: Option<Fault>,
}

impl<'c, E: Encoder> Engine<'_, 'c, E> {
    /// The guest memory may panic while the lock is held, when it is asked
    /// for the next chunk. Nothing is half changed then, and all threads
    /// stop.
    fn lock(&self) -> MutexGuard<'_, State<'c, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, guard: MutexGuard<'g, State<'c, E>>) -> MutexGuard<'g, State<'c, E>> {
        self.changed
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all threads. The first failure counts.
    fn fail(&self, error: Fault) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    /// The work of each thread.
    fn work(&self) {
        // A panic in the guest memory or the sink must not leave the other
        // threads waiting for this one's chunk.
        let result = catch_unwind(AssertUnwindSafe(|| self.encode_all()));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail(error),
            Err(panic) => self.fail(Fault::Panicked(panic_message(&*panic))),
        }
    }

    fn encode_all(&self) -> Result<(), Fault> {
        let mut worker = self.encoder.worker()?;
        while let Some((number, chunk, mut block)) = self.take()? {
            self.encoder.encode(&mut worker, &chunk, &mut block)?;
            self.deliver(number, chunk, block)?;
        }
        Ok(())
    }

    /// The next chunk and a block to encode it into; `None` if there are no
    /// more, or another thread failed.
    fn take(&self) -> Result<Option<(u64, Chunk, E::Block)>, Fault> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() {
                return Ok(None);
            }
            if self.progress.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            if state.taken - state.placed < self.window {
                break;
            }
            state = self.wait(state);
        }
        let Some(chunk) = state.chunks.next()? else {
            return Ok(None);
        };
        let number = state.taken;
        state.taken += 1;
        Ok(Some((number, chunk, state.spare.pop().unwrap_or_default())))
    }

    /// Hands a block in; then places and writes what is next in order, as
    /// long as there is something and nobody else is at it.
    fn deliver(&self, number: u64, chunk: Chunk, block: E::Block) -> Result<(), Fault> {
        let in_order = self.encoder.in_order();
        let mut state = self.lock();
        state.ready.insert(number, (chunk, block));
        while state.failure.is_none() && !state.placing {
            let next = state.placed;
            let Some((chunk, mut block)) = state.ready.remove(&next) else {
                break;
            };
            // Others take chunks meanwhile.
            state.placing = true;
            drop(state);
            self.place(&mut block)?;
            state = self.lock();
            state.placed += 1;
            state.placing = in_order;
            let failed = state.failure.is_some();
            drop(state);
            self.changed.notify_all();
            if failed {
                break;
            }

            self.encoder.write(&block)?;
            self.progress.add_done(chunk.size);

            state = self.lock();
            if in_order {
                state.placing = false;
            }
            state.spare.push(block);
        }
        Ok(())
    }

    fn place(&self, block: &mut E::Block) -> Result<(), Fault> {
        let layout = self.layout.lock();
        let mut layout = layout.unwrap_or_else(PoisonError::into_inner);
        self.encoder.place(&mut layout, block)
    }
}
