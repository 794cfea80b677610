//! What is pushed: where its bytes come from, and that they are the right ones.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};

use rbuild_image::digest::Digest;
use rbuild_image::manifest::{Descriptor, MAX_MANIFEST_BYTES};
use rbuild_image::reference::Reference;
use rbuild_image::store::Store;
use sha2::{Digest as _, Sha256};

use crate::error::{Cause, RegistryError};
use crate::transport::Stream;

/// Bytes of a blob, read from any place of it.
pub trait Bytes: Read + Seek + Send {}

impl<T: Read + Seek + Send> Bytes for T {}

/// Where the bytes of what is pushed come from.
///
/// A [`Store`] is one, for images whose blobs are all in it. Any number of threads ask at a time.
pub trait Content: Sync {
    /// Returns a manifest or index, at most [`MAX_MANIFEST_BYTES`] of it. It is checked.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Cause>;

    /// Opens a blob. Only what the registry lacks is asked for, and again after each failure. What is
    /// read is checked while it is sent.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Bytes + '_>, Cause>;

    /// Returns repositories that are known to have a blob, the best guess first. One on the same
    /// registry gives it without an upload.
    fn sources(&self, _descriptor: &Descriptor) -> Vec<Reference> {
        Vec::new()
    }
}

impl Content for Store {
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Cause> {
        Ok(self.read_blob(&descriptor.digest, MAX_MANIFEST_BYTES)?)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Bytes + '_>, Cause> {
        Ok(Box::new(self.open_blob(&descriptor.digest)?))
    }
}

/// A blob on its way out.
pub(crate) struct Outgoing<'a> {
    pub(crate) content: &'a dyn Content,
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) subject: &'a str,
    /// Set when the rest of the push has failed.
    pub(crate) is_stopped: &'a AtomicBool,
    /// Told how many bytes of the blob have been read.
    pub(crate) progress: &'a dyn Fn(u64),
}

impl Outgoing<'_> {
    /// Returns the bytes from `start` to `end`, `hash` being that of the bytes before.
    pub(crate) fn part(&self, start: u64, end: u64, hash: Sha256) -> Part<'_> {
        Part {
            outgoing: self,
            start,
            end,
            hash,
            hash_at_end: RefCell::default(),
        }
    }

    /// Returns the hash of the first `length` bytes.
    ///
    /// # Errors
    /// [`RegistryError::Content`] if they cannot be read.
    pub(crate) fn hash_of_first(&self, length: u64) -> Result<Sha256, RegistryError> {
        let mut hash = Sha256::new();
        if length == 0 {
            return Ok(hash);
        }
        let bytes = self.content.blob(self.descriptor);
        let mut bytes = bytes.map_err(|cause| self.unreadable(cause))?.take(length);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match bytes.read(&mut buffer) {
                Ok(0) => return Ok(hash),
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error.into())),
            }
        }
    }

    /// # Errors
    /// [`RegistryError::Cancelled`] if the rest of the push has failed.
    pub(crate) fn check_stopped(&self) -> Result<(), RegistryError> {
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(RegistryError::Cancelled {
                subject: self.subject.to_owned(),
            });
        }
        Ok(())
    }

    pub(crate) fn unreadable(&self, source: Cause) -> RegistryError {
        RegistryError::Content {
            subject: self.subject.to_owned(),
            source,
        }
    }
}

/// A part of a blob, as the body of a request.
pub(crate) struct Part<'a> {
    outgoing: &'a Outgoing<'a>,
    start: u64,
    end: u64,
    hash: Sha256,
    hash_at_end: RefCell<Option<Sha256>>,
}

impl Part<'_> {
    /// Returns the hash of the blob up to the end of the part, if it was read that far.
    pub(crate) fn into_hash(self) -> Option<Sha256> {
        self.hash_at_end.into_inner()
    }
}

impl Stream for Part<'_> {
    fn length(&self) -> u64 {
        self.end - self.start
    }

    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        let unreadable = |cause| io::Error::other(self.outgoing.unreadable(cause));
        let bytes = self.outgoing.content.blob(self.outgoing.descriptor);
        let mut bytes = bytes.map_err(unreadable)?;
        if self.start > 0 {
            bytes
                .seek(SeekFrom::Start(self.start))
                .map_err(|error| unreadable(error.into()))?;
        }
        Ok(Box::new(Checked {
            part: self,
            bytes,
            position: self.start,
            hash: self.hash.clone(),
        }))
    }
}

/// Reads a part. The last bytes of a blob come out only if its digest is right: a request that is
/// not complete is not carried out.
struct Checked<'a> {
    part: &'a Part<'a>,
    bytes: Box<dyn Bytes + 'a>,
    position: u64,
    hash: Sha256,
}

impl Checked<'_> {
    fn check(&self, count: usize) -> Result<(), RegistryError> {
        let Outgoing {
            descriptor,
            subject,
            ..
        } = *self.part.outgoing;
        self.part.outgoing.check_stopped()?;
        if count == 0 {
            return Err(RegistryError::SizeMismatch {
                subject: subject.to_owned(),
                expected: descriptor.size,
                found: self.position,
            });
        }
        if self.position < descriptor.size {
            return Ok(());
        }
        let found = Digest::from_bytes(self.hash.clone().finalize().into());
        if found == descriptor.digest {
            return Ok(());
        }
        Err(RegistryError::DigestMismatch {
            subject: subject.to_owned(),
            expected: descriptor.digest,
            found,
            note: ", in the local store; nothing was pushed of it".to_owned(),
        })
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.part.end - self.position;
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = loop {
            match self.bytes.read(&mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let error = self.part.outgoing.unreadable(error.into());
                    return Err(io::Error::other(error));
                }
                Ok(count) => break count,
            }
        };
        self.hash.update(&buffer[..count]);
        self.position += count as u64;
        self.check(count).map_err(io::Error::other)?;
        if self.position == self.part.end {
            self.part.hash_at_end.replace(Some(self.hash.clone()));
        }
        (self.part.outgoing.progress)(self.position);
        Ok(count)
    }
}
