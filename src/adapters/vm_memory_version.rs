//! The adapter to one version of vm-memory. Versions differ in the crate's
//! name here, and in the name of the trait.

macro_rules! vm_memory_adapter {
    ($vm_memory:ident, $Backend:ident) => {
        use std::io;
        use std::ops::Deref;
        use std::sync::Arc;

        use $vm_memory::{
            Address as _, Bytes as _, GuestAddress, GuestMemoryRegion, MemoryRegionAddress,
            $Backend as Backend,
        };

        pub use crate::adapters::mapped::{Populated, Reads, VmMemoryError};

        use crate::adapters::mapped::Mapped;
        use crate::adapters::part::Part;
        use crate::memory::{GuestMemory, MemoryRange, not_ram};

        /// Guest memory of vm-memory, ready to be dumped. `T` is a reference
        /// to it or owns it: `&GuestMemoryMmap`, `Arc<GuestMemoryMmap>`, or the
        /// snapshot that `GuestMemoryAtomic::memory` gives.
        #[derive(Debug)]
        pub struct VmMemory<T> {
            memory: T,
            mapped: Mapped,
        }

        impl<T> VmMemory<T>
        where
            T: Deref<Target: Backend> + Send + Sync,
        {
            /// All regions of `memory`, in any order.
            ///
            /// How they are mapped is looked up once, when the first dump asks
            /// what is populated: regions that are added or mapped anew later
            /// need a new `VmMemory`.
            ///
            /// # Errors
            ///
            /// If a region is not made of whole pages of 4096 bytes, or regions
            /// overlap.
            pub fn new(memory: T) -> Result<Self, VmMemoryError> {
                let parts = memory.iter().map(part).collect::<Result<_, _>>()?;
                let mapped = Mapped::new(parts)?;
                Ok(Self { memory, mapped })
            }

            /// Only what lies in `ranges`, in any order: the plugged part of
            /// memory that can be hot-plugged, for example.
            ///
            /// # Errors
            ///
            /// If ranges overlap, or one is not all in the regions.
            pub fn within(self, ranges: &[MemoryRange]) -> Result<Self, VmMemoryError> {
                let mapped = self.mapped.within(ranges)?;
                Ok(Self { mapped, ..self })
            }

            /// How memory is read.
            #[must_use]
            pub fn reads(self, reads: Reads) -> Self {
                let mapped = self.mapped.reads(reads);
                Self { mapped, ..self }
            }

            /// Where it comes from which memory was ever touched.
            #[must_use]
            pub fn populated(self, populated: Populated) -> Self {
                let mapped = self.mapped.populated(populated);
                Self { mapped, ..self }
            }

            /// vm-memory's volatile copy out of one region.
            fn read_volatile(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
                let (region, at) = self
                    .memory
                    .to_region_addr(GuestAddress(gpa))
                    .ok_or_else(|| not_ram(gpa, buf.len()))?;
                region.read_slice(buf, at).map_err(io::Error::other)
            }
        }

        fn part<R: GuestMemoryRegion>(region: &R) -> Result<Part, VmMemoryError> {
            let range = MemoryRange::new(region.start_addr().raw_value(), region.len())?;
            let host = region.get_host_address(MemoryRegionAddress(0)).ok();
            let file = region
                .file_offset()
                .map(|file| (Arc::clone(file.arc()), file.start()));
            Ok(Part::new(range, host.map(|host| host.addr() as u64), file))
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
