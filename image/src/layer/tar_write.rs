//! Entries to a tar stream, always the same bytes for the same entries.
//!
//! ustar headers, with pax records only for what does not fit them. No user or group names, times
//! in whole seconds, removed files as `.wh.<name>` and opaque directories as `.wh..wh..opq`.
//! Spec: <https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md>

use std::io::Write;

use tar::{EntryType, Header};

use crate::error::ImageError;

use super::entry::{Entry, EntryKind, Mtime};
use super::index::check_entry;
use super::path::{self, split_last};

/// Tar counts in blocks of so many bytes.
pub(super) const BLOCK: usize = 512;

/// Prefix of the names of removed files.
pub(super) const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// Name of the file that makes its directory opaque.
pub(super) const OPAQUE_MARK: &[u8] = b".wh..wh..opq";

/// Largest value of an eight-byte number field.
const MAX_ID: u64 = 0o7_777_777;

/// Largest value of a twelve-byte number field.
const MAX_NUMBER: u64 = 0o77_777_777_777;

/// Writes a tar stream: [`TarWriter::entry`], for a file then exactly its bytes, and at the end
/// [`TarWriter::finish`].
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    /// Of the current file: bytes to come, and its size.
    remaining: u64,
    size: u64,
    /// The current file's path, for messages.
    path: Vec<u8>,
    written: u64,
}

impl<W: Write> TarWriter<W> {
    /// Returns a writer whose stream goes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            remaining: 0,
            size: 0,
            path: Vec::new(),
            written: 0,
        }
    }

    /// Writes the header (or headers) of `entry`. If it is a file, its bytes come next.
    ///
    /// Entries are written in the order in which they come; that of a
    /// [`LayerIndex`](super::LayerIndex) puts directories before what they contain and files before
    /// their hard links.
    ///
    /// # Errors
    /// [`ImageError::ContentSize`] if bytes of the file before are missing, [`ImageError::BadEntry`]
    /// for what tar cannot express, [`ImageError::Io`] from the output.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), ImageError> {
        self.end_file()?;
        check_entry(entry)?;
        let mut bytes = Vec::with_capacity(BLOCK);
        encode(&mut bytes, entry)?;
        self.put(&bytes)?;
        if let EntryKind::File { size, .. } = entry.kind {
            self.size = size;
            self.remaining = size;
            self.path.clone_from(&entry.path);
        }
        Ok(())
    }

    /// Writes the next bytes of the current file.
    ///
    /// # Errors
    /// [`ImageError::ContentSize`] if they are more than its entry says, [`ImageError::Io`] from
    /// the output.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.passed(bytes.len())?;
        self.out
            .write_all(bytes)
            .map_err(ImageError::io("write a layer"))
    }

    /// Ends the stream and returns the output, not flushed.
    ///
    /// # Errors
    /// [`ImageError::ContentSize`] if bytes of the last file are missing, [`ImageError::Io`] from
    /// the output.
    pub fn finish(self) -> Result<W, ImageError> {
        self.finish_counted().map(|(out, _)| out)
    }

    /// Like [`TarWriter::finish`]; returns also how many bytes the whole stream has.
    pub(super) fn finish_counted(mut self) -> Result<(W, u64), ImageError> {
        self.end_file()?;
        self.put(&[0; 2 * BLOCK])?;
        Ok((self.out, self.written))
    }

    /// Returns the output, for a caller that puts file bytes there itself and reports them with
    /// [`TarWriter::passed`].
    pub(super) fn output(&mut self) -> &mut W {
        &mut self.out
    }

    /// Counts bytes of the current file that went straight to the output.
    pub(super) fn passed(&mut self, n_bytes: usize) -> Result<(), ImageError> {
        let n_bytes = n_bytes as u64;
        self.remaining = self
            .remaining
            .checked_sub(n_bytes)
            .ok_or_else(|| self.wrong_size())?;
        self.written += n_bytes;
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), ImageError> {
        if self.remaining != 0 {
            return Err(self.wrong_size());
        }
        let padding = padding(self.size);
        self.size = 0;
        self.put(&[0; BLOCK][..padding])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.written += bytes.len() as u64;
        self.out
            .write_all(bytes)
            .map_err(ImageError::io("write a layer"))
    }

    pub(super) fn wrong_size(&self) -> ImageError {
        ImageError::ContentSize {
            path: path::display(&self.path),
            expected_bytes: self.size,
        }
    }
}

/// Returns how many zeros fill up the last block of `size` bytes.
pub(super) fn padding(size: u64) -> usize {
    let past = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - past) % BLOCK
}

/// What goes into one header, before it is known whether it fits.
struct Fields<'a> {
    kind: EntryType,
    name: Vec<u8>,
    link: &'a [u8],
    size: u64,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: i64,
    device: (u32, u32),
}

fn encode(out: &mut Vec<u8>, entry: &Entry) -> Result<(), ImageError> {
    let mut fields = Fields {
        kind: EntryType::Regular,
        name: entry.path.clone(),
        link: b"",
        size: 0,
        mode: entry.mode,
        uid: u64::from(entry.uid),
        gid: u64::from(entry.gid),
        mtime: entry.mtime.seconds,
        device: (0, 0),
    };
    match &entry.kind {
        EntryKind::File { size, .. } => fields.size = *size,
        EntryKind::Directory { opaque } => {
            fields.kind = EntryType::Directory;
            // The root has no name of its own.
            fields
                .name
                .extend_from_slice(if entry.path.is_empty() { b"./" } else { b"/" });
            put_headers(out, entry, &fields)?;
            if *opaque {
                put_mark(out, &path::join(&entry.path, OPAQUE_MARK), entry)?;
            }
            return Ok(());
        }
        EntryKind::Symlink { target } => {
            fields.kind = EntryType::Symlink;
            fields.link = target;
        }
        EntryKind::Hardlink { target } => {
            fields.kind = EntryType::Link;
            fields.link = target;
        }
        EntryKind::Fifo => fields.kind = EntryType::Fifo,
        EntryKind::CharDevice { major, minor } => {
            fields.kind = EntryType::Char;
            fields.device = (*major, *minor);
        }
        EntryKind::BlockDevice { major, minor } => {
            fields.kind = EntryType::Block;
            fields.device = (*major, *minor);
        }
        EntryKind::Whiteout => {
            let (parent, name) = split_last(&entry.path)
                .ok_or_else(|| ImageError::bad_entry(&entry.path, "the root cannot be removed"))?;
            let mark = [WHITEOUT_PREFIX, name].concat();
            return put_mark(out, &path::join(parent, &mark), entry);
        }
    }
    put_headers(out, entry, &fields)
}

/// Appends an empty file of no owner, time or mode, whose name says it all.
fn put_mark(out: &mut Vec<u8>, name: &[u8], entry: &Entry) -> Result<(), ImageError> {
    let bare = Entry {
        path: entry.path.clone(),
        kind: EntryKind::Whiteout,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: std::collections::BTreeMap::new(),
    };
    let fields = Fields {
        kind: EntryType::Regular,
        name: name.to_vec(),
        link: b"",
        size: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: 0,
        device: (0, 0),
    };
    put_headers(out, &bare, &fields)
}

fn put_headers(out: &mut Vec<u8>, entry: &Entry, fields: &Fields<'_>) -> Result<(), ImageError> {
    let mut records = Vec::new();
    let mut header = Header::new_ustar();
    set_name(&mut header, fields, &mut records);
    if is_plain(fields.link) && fields.link.len() <= 100 {
        copy_into(&mut header.as_old_mut().linkname, fields.link);
    } else {
        put_record(&mut records, b"linkpath", fields.link);
    }
    let number = |key: &[u8], value: u64, max: u64, records: &mut Vec<u8>| {
        if value <= max {
            return value;
        }
        put_record(records, key, value.to_string().as_bytes());
        0
    };
    header.set_size(number(b"size", fields.size, MAX_NUMBER, &mut records));
    header.set_uid(number(b"uid", fields.uid, MAX_ID, &mut records));
    header.set_gid(number(b"gid", fields.gid, MAX_ID, &mut records));
    match u64::try_from(fields.mtime) {
        Ok(seconds) if seconds <= MAX_NUMBER => header.set_mtime(seconds),
        _ => {
            header.set_mtime(0);
            put_record(&mut records, b"mtime", fields.mtime.to_string().as_bytes());
        }
    }
    for (name, value) in &entry.xattrs {
        let key = [b"SCHILY.xattr.", encode_key(name).as_slice()].concat();
        put_record(&mut records, &key, value);
    }
    header.set_mode(fields.mode);
    header.set_entry_type(fields.kind);
    let device = header
        .set_device_major(fields.device.0)
        .and_then(|()| header.set_device_minor(fields.device.1));
    let unfit = |_error| ImageError::bad_entry(&entry.path, "the device number is too large");
    device.map_err(unfit)?;
    header.set_cksum();
    if !records.is_empty() {
        put_pax(out, &fields.name, &records);
    }
    out.extend_from_slice(header.as_bytes());
    Ok(())
}

/// Puts the name into the header, whole or split at a slash, or else into a record.
fn set_name(header: &mut Header, fields: &Fields<'_>, records: &mut Vec<u8>) {
    let name = fields.name.as_slice();
    let Some(ustar) = header.as_ustar_mut() else {
        return; // A header made by `new_ustar` is one.
    };
    if is_plain(name) {
        if name.len() <= ustar.name.len() {
            copy_into(&mut ustar.name, name);
            return;
        }
        if let Some(slash) = split_for_ustar(name) {
            copy_into(&mut ustar.prefix, &name[..slash]);
            copy_into(&mut ustar.name, &name[slash + 1..]);
            return;
        }
    }
    put_record(records, b"path", name);
    copy_into(&mut ustar.name, &short_name(name));
}

/// Returns the slash at which a name splits into 155 and 100 bytes at most.
fn split_for_ustar(name: &[u8]) -> Option<usize> {
    let start = name.len().checked_sub(101)?;
    (start..name.len().min(156)).find(|at| name[*at] == b'/' && *at > 0 && at + 1 < name.len())
}

/// Returns true if every reader takes `text` from a header field as it is.
fn is_plain(text: &[u8]) -> bool {
    text.is_ascii()
}

/// Returns what readers without pax see: the last component in ASCII, cut to fit.
fn short_name(name: &[u8]) -> Vec<u8> {
    let trimmed = name.strip_suffix(b"/").unwrap_or(name);
    let last = split_last(trimmed).map_or(trimmed, |(_, last)| last);
    last.iter()
        .map(|byte| if byte.is_ascii() { *byte } else { b'_' })
        .take(80)
        .collect()
}

fn copy_into(field: &mut [u8], text: &[u8]) {
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
}

/// Appends the extended header that applies to the next header.
fn put_pax(out: &mut Vec<u8>, name: &[u8], records: &[u8]) {
    let mut header = Header::new_ustar();
    let name = [b"PaxHeaders.0/", short_name(name).as_slice()].concat();
    copy_into(&mut header.as_old_mut().name, &name);
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(records);
    out.extend_from_slice(&[0; BLOCK][..padding(records.len() as u64)]);
}

/// Appends `LENGTH KEY=VALUE\n`, where the length counts itself.
fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + decimal_digits(length) != length {
        length = rest + decimal_digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Writes an xattr name so that no `=` ends it early, in the way of GNU tar.
fn encode_key(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            _ => key.push(*byte),
        }
    }
    key
}
