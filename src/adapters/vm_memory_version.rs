//! The adapter to a version of vm-memory, as a macro. Versions differ in the name of the
//! crate and in the name of the trait.

macro_rules! vm_memory_adapter {
    ($vm_memory:ident, $Backend:ident) => {
        use std::io;
        use std::ops::Deref;
        use std::sync::Arc;

        use $vm_memory::{
            Address as _, Bytes as _, GuestAddress, GuestMemoryRegion, MemoryRegionAddress,
            $Backend as Backend,
        };

        pub use crate::adapters::vm_memory_options::{Populated, Reads, VmMemoryError};

        use crate::adapters::mapped_regions::MappedRegions;
        use crate::adapters::region_part::RegionPart;
        use crate::memory::{GuestMemory, MemoryRange, not_ram};

        /// Guest memory of vm-memory, ready to be dumped. `T` refers to the memory or owns
        /// it: `&GuestMemoryMmap`, `Arc<GuestMemoryMmap>`, or the snapshot that
        /// `GuestMemoryAtomic::memory` returns.
        #[derive(Debug)]
        pub struct VmMemory<T> {
            memory: T,
            mapped: MappedRegions,
        }

        impl<T> VmMemory<T>
        where
            T: Deref<Target: Backend> + Send + Sync,
        {
            /// Makes guest memory of all regions of `memory`, in any order.
            ///
            /// The mappings of the regions are looked up once, when the first dump asks
            /// what is populated. Regions that are added or mapped again later need a new
            /// `VmMemory`.
            ///
            /// # Errors
            ///
            /// If a region does not consist of whole pages of 4096 bytes, or regions
            /// overlap.
            pub fn new(memory: T) -> Result<Self, VmMemoryError> {
                let parts = memory.iter().map(part).collect::<Result<_, _>>()?;
                let mapped = MappedRegions::new(parts)?;
                Ok(Self { memory, mapped })
            }

            /// Restricts the memory to `ranges`, in any order. This is for the plugged part
            /// of hot-pluggable memory, for example.
            ///
            /// # Errors
            ///
            /// If ranges overlap, or one is not all in the regions.
            pub fn within(self, ranges: &[MemoryRange]) -> Result<Self, VmMemoryError> {
                let mapped = self.mapped.within(ranges)?;
                Ok(Self { mapped, ..self })
            }

            /// Sets how memory is read.
            #[must_use]
            pub fn reads(self, reads: Reads) -> Self {
                let mapped = self.mapped.reads(reads);
                Self { mapped, ..self }
            }

            /// Sets the source that tells which memory was ever touched.
            #[must_use]
            pub fn populated(self, populated: Populated) -> Self {
                let mapped = self.mapped.populated(populated);
                Self { mapped, ..self }
            }

            /// Reads by vm-memory's volatile copy, out of one region.
            fn read_volatile(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
                let (region, at) = self
                    .memory
                    .to_region_addr(GuestAddress(gpa))
                    .ok_or_else(|| not_ram(gpa, buf.len()))?;
                region.read_slice(buf, at).map_err(io::Error::other)
            }
        }

        /// Describes a region of vm-memory.
        fn part<R: GuestMemoryRegion>(region: &R) -> Result<RegionPart, VmMemoryError> {
            let range = MemoryRange::new(region.start_addr().raw_value(), region.len())?;
            let host = region.get_host_address(MemoryRegionAddress(0)).ok();
            let file = region
                .file_offset()
                .map(|file| (Arc::clone(file.arc()), file.start()));
            let host = host.map(|host| host.addr() as u64);
            Ok(RegionPart::new(range, host, file))
        }

        impl<T> GuestMemory for VmMemory<T>
        where
            T: Deref<Target: Backend> + Send + Sync,
        {
            fn ranges(&self) -> Vec<MemoryRange> {
                self.mapped.ranges().to_vec()
            }

            fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
                self.mapped
                    .read(gpa, buf, |gpa, buf| self.read_volatile(gpa, buf))
            }

            fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
                self.mapped.next_populated(range)
            }
        }
    };
}
pub(super) use vm_memory_adapter;
