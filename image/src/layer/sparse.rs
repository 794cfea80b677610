//! GNU sparse files in archives: where data and holes alternate.
//!
//! Four formats carry the same map; here it is checked and turned into a sequence of parts.

use std::io::BufRead;

use crate::error::ImageError;

use super::pax::{Pax, decimal};
use super::tar_header::{GnuSparse, RawHeader, read_segments};
use super::tar_read::{TarReader, ends_early};
use super::tar_write::BLOCK;

/// Most segments of one file.
const MAX_SEGMENTS: usize = 1 << 20;

/// Most bytes of holes in one archive: they take no room in it, but time to hash and pack.
const MAX_HOLES: u64 = 16 << 30;

/// The parts of a sparse file that are still to come.
#[derive(Debug)]
pub(super) struct SparseMap {
    segments: std::vec::IntoIter<(u64, u64)>,
    size: u64,
    /// Where in the file the next byte goes.
    position: u64,
    /// The current part: bytes left, and whether they are stored.
    left: u64,
    is_data: bool,
    /// The segment that follows the current hole.
    after_hole: u64,
    holes: u64,
}

impl SparseMap {
    /// Returns the map of a file of `size` bytes whose `segments` (offset and length) are stored in
    /// `stored` bytes.
    ///
    /// # Errors
    /// [`ImageError::BadArchive`] if the segments overlap, are out of order or do not fill exactly
    /// what is stored.
    fn new(segments: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<Self, ImageError> {
        let broken = || ImageError::bad_archive("a sparse file's map is broken");
        let (mut end, mut sum) = (0_u64, 0_u64);
        for (offset, length) in &segments {
            if *offset < end {
                return Err(broken());
            }
            end = offset.checked_add(*length).ok_or_else(broken)?;
            sum = sum.checked_add(*length).ok_or_else(broken)?;
        }
        if end > size || sum != stored {
            return Err(broken());
        }
        Ok(Self {
            segments: segments.into_iter(),
            size,
            position: 0,
            left: 0,
            is_data: false,
            after_hole: 0,
            holes: size - sum,
        })
    }

    /// Returns the size of the whole file.
    fn size(&self) -> u64 {
        self.size
    }

    /// Returns the bytes of all holes together.
    fn holes(&self) -> u64 {
        self.holes
    }

    /// Returns the length of the current part and whether its bytes are stored; `None` at the end.
    pub(super) fn part(&mut self) -> Option<(u64, bool)> {
        while self.left == 0 {
            if self.after_hole > 0 {
                self.left = std::mem::take(&mut self.after_hole);
                self.is_data = true;
            } else if let Some((offset, length)) = self.segments.next() {
                self.left = offset.saturating_sub(self.position);
                self.is_data = false;
                self.after_hole = length;
            } else if self.position < self.size {
                self.left = self.size - self.position;
                self.is_data = false;
            } else {
                return None;
            }
        }
        Some((self.left, self.is_data))
    }

    /// Goes forward by at most what [`SparseMap::part`] returned.
    pub(super) fn advance(&mut self, n_bytes: u64) {
        self.left = self.left.saturating_sub(n_bytes);
        self.position = self.position.saturating_add(n_bytes);
    }
}

impl<R: BufRead> TarReader<R> {
    /// Sets up an old GNU sparse file; returns its real size.
    pub(super) fn start_old_sparse(
        &mut self,
        header: &RawHeader,
        stored: u64,
    ) -> Result<u64, ImageError> {
        let GnuSparse {
            mut segments,
            size,
            mut more,
        } = header.gnu_sparse()?;
        while more {
            let mut block = [0; BLOCK];
            if self.read_full(&mut block)? < BLOCK {
                return Err(ends_early());
            }
            read_segments(&block[..504], &mut segments)?;
            if segments.len() > MAX_SEGMENTS {
                return Err(ImageError::bad_archive("a sparse file has too many parts"));
            }
            more = block[504] != 0;
        }
        self.start(stored);
        self.start_sparse(segments, size)
    }

    /// Sets up a sparse file of a pax archive, if `pax` says that it is one; returns the real size.
    pub(super) fn start_pax_sparse(&mut self, stored: u64, pax: &Pax) -> Result<u64, ImageError> {
        let numbers = if pax.sparse.map_in_data {
            self.map_in_data()?
        } else {
            pax.sparse.map.clone()
        };
        if numbers.is_empty() && !pax.sparse.map_in_data && pax.sparse.size.is_none() {
            return Ok(stored);
        }
        if !numbers.len().is_multiple_of(2) || numbers.len() > 2 * MAX_SEGMENTS {
            return Err(ImageError::bad_archive("a sparse file's map is broken"));
        }
        let segments = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        self.start_sparse(segments.collect(), pax.sparse.size.unwrap_or(stored))
    }

    fn start_sparse(&mut self, segments: Vec<(u64, u64)>, size: u64) -> Result<u64, ImageError> {
        let map = SparseMap::new(segments, size, self.stored)?;
        self.holes = self.holes.saturating_add(map.holes());
        if self.holes > MAX_HOLES {
            return Err(ImageError::bad_archive("its sparse files are too large"));
        }
        let size = map.size();
        self.sparse = Some(map);
        Ok(size)
    }

    /// Reads the map at the start of the content: decimal numbers in lines, their count first,
    /// filled up to a block.
    fn map_in_data(&mut self) -> Result<Vec<u64>, ImageError> {
        let broken = || ImageError::bad_archive("a sparse file's map is broken");
        let mut numbers = Vec::new();
        let mut expected = None;
        let mut line = Vec::new();
        while expected.is_none_or(|expected| numbers.len() < expected) {
            let mut block = [0; BLOCK];
            self.stored = self.stored.checked_sub(BLOCK as u64).ok_or_else(broken)?;
            if self.read_full(&mut block)? < BLOCK {
                return Err(ends_early());
            }
            for byte in block {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let number = decimal(&std::mem::take(&mut line))?;
                match expected {
                    None => {
                        let count = usize::try_from(number).map_err(|_large| broken())?;
                        if count > MAX_SEGMENTS {
                            return Err(broken());
                        }
                        expected = Some(2 * count);
                    }
                    Some(expected) if numbers.len() < expected => numbers.push(number),
                    Some(_) => return Err(broken()),
                }
                if expected == Some(numbers.len()) {
                    break;
                }
            }
            if line.len() > BLOCK {
                return Err(broken());
            }
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(segments: &[(u64, u64)], size: u64, stored: u64) -> Option<Vec<(u64, bool)>> {
        let mut map = SparseMap::new(segments.to_vec(), size, stored).ok()?;
        let mut parts = Vec::new();
        while let Some((length, is_data)) = map.part() {
            parts.push((length, is_data));
            map.advance(length);
        }
        Some(parts)
    }

    #[test]
    fn data_and_holes_alternate() {
        let check = |segments: &[_], size, stored, expected: Option<&[(u64, bool)]>| {
            assert_eq!(parts(segments, size, stored).as_deref(), expected);
        };
        check(&[], 0, 0, Some(&[]));
        check(&[], 9, 0, Some(&[(9, false)]));
        check(&[(0, 4)], 4, 4, Some(&[(4, true)]));
        check(
            &[(2, 3), (8, 1), (10, 0)],
            10,
            4,
            Some(&[(2, false), (3, true), (3, false), (1, true), (1, false)]),
        );
        check(&[(0, 4), (2, 4)], 9, 8, None);
        check(&[(0, 4)], 3, 4, None);
        check(&[(0, 4)], 9, 5, None);
        check(&[(u64::MAX, 2)], u64::MAX, 2, None);
    }
}
