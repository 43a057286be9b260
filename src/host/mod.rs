//! What the host's kernel gives: the page cache, raw descriptors.

pub(crate) mod page_cache;
pub(crate) mod raw_fd;
