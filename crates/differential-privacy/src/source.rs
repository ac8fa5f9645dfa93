//! A caller's generator behind one type, so that the loops that draw from it are compiled
//! here, at this crate's level of optimisation, and not in each crate that calls them.

use core::convert::Infallible;

use rand_core::TryRng;

/// Generator that takes all its numbers by filling bytes.
pub(crate) struct Source<'a>(pub(crate) &'a mut dyn FnMut(&mut [u8]));

impl TryRng for Source<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        (self.0)(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        (self.0)(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        (self.0)(bytes);
        Ok(())
    }
}
