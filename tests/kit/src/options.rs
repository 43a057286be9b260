//! Changes to a dump's options in one expression.

use guestdump::{DumpOptions, FormatOptions, GuestInfo, NotInFormat};

pub trait With: Sized {
    /// Changes the guest.
    fn with_guest(self, change: impl FnOnce(GuestInfo) -> GuestInfo) -> Self;

    /// Changes the format's own options, which the format must have.
    fn with_format(
        self,
        change: impl FnOnce(FormatOptions) -> Result<FormatOptions, NotInFormat>,
    ) -> Self;
}

impl With for DumpOptions {
    fn with_guest(mut self, change: impl FnOnce(GuestInfo) -> GuestInfo) -> Self {
        self.guest = change(self.guest);
        self
    }

    fn with_format(
        mut self,
        change: impl FnOnce(FormatOptions) -> Result<FormatOptions, NotInFormat>,
    ) -> Self {
        self.format = change(self.format).unwrap();
        self
    }
}
