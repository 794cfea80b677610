//! Limits on what an expansion may cost.

use super::{ExpandError, MAX_EXPANSION};

/// Bytes and pattern steps that one text may cost: a fraction of a second.
const MAX_WORK: usize = 64 << 20;

/// A budget that hostile texts run out of.
#[derive(Debug)]
pub(super) struct Work {
    left: usize,
}

impl Default for Work {
    fn default() -> Self {
        Self::limited(MAX_WORK)
    }
}

impl Work {
    /// Returns a budget of this many steps or bytes.
    pub(super) fn limited(left: usize) -> Self {
        Self { left }
    }

    /// Takes `amount` steps or bytes.
    pub(super) fn add(&mut self, amount: usize) -> Result<(), ExpandError> {
        self.left = self
            .left
            .checked_sub(amount)
            .ok_or(ExpandError::TooExpensive)?;
        Ok(())
    }

    /// Refuses a text of `size` bytes if that is too large.
    pub(super) fn check_size(size: usize) -> Result<(), ExpandError> {
        if size > MAX_EXPANSION {
            return Err(ExpandError::TooLarge);
        }
        Ok(())
    }
}
