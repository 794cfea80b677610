//! The memory of the building process.

use crate::sys;

/// Below this many bytes resident, nothing is to be gained that would be worth the time.
const WORTH_IT: u64 = 32 << 20;

/// What is counted is pages; some machines have larger ones.
const SMALLEST_PAGE: u64 = 4096;

/// Gives memory that was freed back to the system, if the process is large. To be called between two things that
/// need much: the allocator keeps what one has freed in small pieces, and the other wants large ones.
pub fn give_back_memory() {
    if resident().is_none_or(|bytes| bytes > WORTH_IT) {
        sys::trim_heap();
    }
}

/// Bytes that are resident, at least.
fn resident() -> Option<u64> {
    let found = fs_err::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = found.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(SMALLEST_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_in_small_pieces_is_given_back() {
        let mut pieces: Vec<Vec<u8>> = (0..400_000).map(|_| vec![1; 200]).collect();
        let full = resident().unwrap();
        // The last one keeps the heap from shrinking by itself.
        pieces.drain(..pieces.len() - 1);
        give_back_memory();
        let left = resident().unwrap();
        if cfg!(target_env = "gnu") {
            assert!(left + (60 << 20) < full, "{left} of {full} bytes are left");
        }
        drop(pieces);
    }
}
