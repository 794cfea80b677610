//! The content of a file in a tar stream, between its header and the next one.

use std::io::{self, BufRead, Read};

use crate::error::ImageError;

use super::tar_read::{TarReader, ends_early, fill};

/// Part of a file's content.
#[derive(Debug)]
pub(super) enum Chunk<'a> {
    /// The next bytes, never none.
    Data(&'a [u8]),
    /// So many zeros.
    Hole(u64),
    /// There is no more.
    End,
}

impl<R: BufRead> TarReader<R> {
    /// Returns the next part of the current file; [`TarReader::consume`] says how much was taken.
    pub(super) fn chunk(&mut self) -> Result<Chunk<'_>, ImageError> {
        let limit = match &mut self.sparse {
            None => self.stored,
            Some(map) => match map.part() {
                None => return Ok(Chunk::End),
                Some((length, false)) => return Ok(Chunk::Hole(length)),
                Some((length, true)) => length.min(self.stored),
            },
        };
        if limit == 0 {
            return Ok(Chunk::End);
        }
        let available = fill(&mut self.input)?;
        if available.is_empty() {
            return Err(ends_early());
        }
        let n_bytes =
            usize::try_from(limit).map_or(available.len(), |limit| limit.min(available.len()));
        Ok(Chunk::Data(&available[..n_bytes]))
    }

    /// Takes `n_bytes` of what [`TarReader::chunk`] returned.
    pub(super) fn consume(&mut self, n_bytes: u64) {
        if let Some(map) = &mut self.sparse {
            let is_data = map.part().is_some_and(|(_, is_data)| is_data);
            map.advance(n_bytes);
            if !is_data {
                return;
            }
        }
        self.stored = self.stored.saturating_sub(n_bytes);
        // The caller got a slice of that length, so it fits.
        self.input.consume(usize::try_from(n_bytes).unwrap_or(0));
    }
}

impl<R: BufRead> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = match self.chunk().map_err(io::Error::other)? {
            Chunk::End => 0,
            Chunk::Data(bytes) => {
                let n_bytes = bytes.len().min(buffer.len());
                buffer[..n_bytes].copy_from_slice(&bytes[..n_bytes]);
                n_bytes
            }
            Chunk::Hole(length) => {
                let n_bytes = usize::try_from(length).map_or(buffer.len(), |l| l.min(buffer.len()));
                buffer[..n_bytes].fill(0);
                n_bytes
            }
        };
        self.consume(n_bytes as u64);
        Ok(n_bytes)
    }
}
