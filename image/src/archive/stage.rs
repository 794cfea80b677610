//! Taking an archive of images apart without trusting it.
//!
//! Entries come in any order, and links may come before what they lead to. So every file goes under
//! a number into a staging folder, hashed on its way, and paths stay what they are: keys of a map.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::output::{MAX_HEADERS, Notes, Watched, copy};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::layer::decompress;
use crate::manifest::MAX_MANIFEST_BYTES;
use crate::store::{StagingDir, Store};

/// More entries than any archive of images has.
const MAX_ENTRIES: usize = 100_000;
const MAX_LINKS: usize = 40;

/// Most bytes of sparse files: holes take no room in an archive, but in the staging folder.
const MAX_SPARSE: u64 = 16 << 30;

/// Files that say what is in an archive; kept in memory.
const DOCUMENTS: &[&str] = &["manifest.json", "index.json", "oci-layout"];

/// An archive that was read to its end.
#[derive(Debug)]
pub(super) struct Staged {
    folder: StagingDir,
    documents: BTreeMap<String, Vec<u8>>,
    /// Bytes of all sparse files so far.
    sparse_bytes: u64,
    nodes: BTreeMap<String, Node>,
    files: BTreeMap<Digest, StagedFile>,
}

/// What a path of the archive stands for.
#[derive(Debug)]
enum Node {
    File(Digest),
    /// The path it leads to, from the archive's root.
    Link(String),
}

/// A file in the staging folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StagedFile {
    pub(super) digest: Digest,
    pub(super) size: u64,
    number: usize,
}

impl Staged {
    /// Reads an archive, compressed or not.
    ///
    /// # Errors
    /// [`ImageError::EmptyArchive`], [`ImageError::UnknownArchive`] for what is no tar,
    /// [`ImageError::BadArchive`] for one that ends early, [`ImageError::Archive`] for a link that
    /// leads out.
    pub(super) fn read(store: &Store, input: impl Read + Send) -> Result<Self, ImageError> {
        let mut staged = Self {
            folder: store.staging_dir()?,
            documents: BTreeMap::new(),
            sparse_bytes: 0,
            nodes: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let (_, decoder) = decompress(Box::new(input), None)?;
        let notes = Notes::default();
        let mut archive = tar::Archive::new(Watched {
            inner: decoder,
            notes: &notes,
        });
        let mut entries = archive.entries().map_err(damaged)?;
        let mut n_entries = 0;
        loop {
            notes.allowance.set(Some(MAX_HEADERS));
            let Some(entry) = entries.next() else { break };
            notes.allowance.set(None);
            match entry {
                Ok(mut entry) => {
                    staged.add(&mut entry, n_entries)?;
                    io::copy(&mut entry, &mut io::sink()).map_err(damaged)?;
                }
                Err(_) if n_entries == 0 && !notes.has_failed.get() => {
                    return Err(ImageError::UnknownArchive);
                }
                Err(error) => return Err(damaged(error)),
            }
            n_entries += 1;
            if n_entries > MAX_ENTRIES {
                return Err(ImageError::TooMany {
                    what: "entries in the archive",
                    limit: MAX_ENTRIES,
                });
            }
        }
        notes.allowance.set(None);
        let mut rest = archive.into_inner();
        if !notes.has_bytes.get() {
            return Err(ImageError::EmptyArchive);
        }
        // The end of a compressed stream has its checksum.
        io::copy(&mut rest, &mut io::sink()).map_err(damaged)?;
        Ok(staged)
    }

    /// Returns a document at the top of the archive.
    pub(super) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// Returns the file at `path`; links are followed.
    ///
    /// # Errors
    /// [`ImageError::NotInArchive`] if there is none.
    pub(super) fn file_at(&self, path: &str) -> Result<StagedFile, ImageError> {
        let missing = || ImageError::NotInArchive {
            name: path.to_owned(),
        };
        let mut key = clean("", path).ok_or_else(missing)?;
        for _ in 0..MAX_LINKS {
            match self.nodes.get(&key).ok_or_else(missing)? {
                Node::File(digest) => return self.file(digest).ok_or_else(missing),
                Node::Link(target) => key.clone_from(target),
            }
        }
        Err(missing())
    }

    /// Returns the file whose content is `digest`.
    pub(super) fn file(&self, digest: &Digest) -> Option<StagedFile> {
        self.files.get(digest).copied()
    }

    /// Returns where a file lies.
    pub(super) fn path_of(&self, file: &StagedFile) -> PathBuf {
        self.folder.path().join(file.number.to_string())
    }

    fn add<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        number: usize,
    ) -> Result<(), ImageError> {
        let raw = entry.path_bytes().into_owned();
        // What has no name in text cannot be named by a manifest.
        let Some(path) = std::str::from_utf8(&raw)
            .ok()
            .and_then(|path| clean("", path))
        else {
            return Ok(());
        };
        if entry.header().entry_type() == EntryType::GNUSparse {
            self.sparse_bytes = self.sparse_bytes.saturating_add(entry.size());
            if self.sparse_bytes > MAX_SPARSE {
                return Err(ImageError::archive(&raw, "the sparse file is too large"));
            }
        }
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if DOCUMENTS.contains(&path.as_str()) {
                    let bytes = read_document(entry, &path)?;
                    self.documents.insert(path, bytes);
                } else {
                    let file = self.store_file(entry, number)?;
                    self.files.entry(file.digest).or_insert(file);
                    self.nodes.insert(path, Node::File(file.digest));
                }
            }
            kind @ (EntryType::Symlink | EntryType::Link) => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                // A hard link's target is a path from the root, a symbolic one's from its folder.
                let folder = match path.rsplit_once('/') {
                    Some((folder, _)) if kind == EntryType::Symlink => folder,
                    _ => "",
                };
                let target = std::str::from_utf8(&target)
                    .ok()
                    .filter(|target| !target.starts_with('/'))
                    .and_then(|target| clean(folder, target))
                    .ok_or_else(|| {
                        ImageError::archive(&raw, "the link leads out of the archive")
                    })?;
                self.nodes.insert(path, Node::Link(target));
            }
            _ => {}
        }
        Ok(())
    }

    fn store_file(&self, entry: &mut dyn Read, number: usize) -> Result<StagedFile, ImageError> {
        let path = self.folder.path().join(number.to_string());
        let fail = |error| ImageError::io("read the archive")(error);
        let mut sink = HashingWriter {
            file: fs_err::File::create(&path).map_err(fail)?,
            hasher: Sha256::new(),
        };
        let size = copy(entry, &mut sink).map_err(damaged)?;
        let digest = Digest::from_bytes(sink.hasher.finalize().into());
        if self.files.contains_key(&digest) {
            fs_err::remove_file(&path).map_err(fail)?;
        }
        Ok(StagedFile {
            digest,
            size,
            number,
        })
    }
}

fn read_document(entry: &mut dyn Read, path: &str) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    entry
        .take(MAX_MANIFEST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(damaged)?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(ImageError::TooLarge {
            what: path.to_owned(),
            limit_bytes: MAX_MANIFEST_BYTES,
        });
    }
    Ok(bytes)
}

/// Joins `folder` and `path` and resolves `.` and `..`; `None` if that leads above the root.
fn clean(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn damaged(error: io::Error) -> ImageError {
    let text = error.to_string();
    // The tar reader has its own words for the same, without the kind.
    let is_early_end =
        error.kind() == io::ErrorKind::UnexpectedEof || text.starts_with("unexpected EOF");
    ImageError::bad_archive(if is_early_end {
        "unexpected EOF".to_owned()
    } else {
        text
    })
}

struct HashingWriter {
    file: fs_err::File,
    hasher: Sha256,
}

impl io::Write for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_bytes = self.file.write(bytes)?;
        self.hasher.update(&bytes[..n_bytes]);
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            if *kind == EntryType::Regular {
                header.set_size(content.len() as u64);
                builder
                    .append_data(&mut header, path, content.as_bytes())
                    .unwrap();
            } else {
                header.set_size(0);
                builder.append_link(&mut header, path, content).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn read(bytes: &[u8]) -> (tempfile::TempDir, Result<Staged, ImageError>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let staged = Staged::read(&store, bytes);
        (folder, staged)
    }

    #[test]
    fn links_lead_to_files_that_come_later() {
        let (_folder, staged) = read(&archive(&[
            ("a/layer.tar", EntryType::Symlink, "../b/layer.tar"),
            ("hard", EntryType::Link, "a/layer.tar"),
            ("./b/layer.tar", EntryType::Regular, "content"),
            ("index.json", EntryType::Regular, "{}"),
            ("loop", EntryType::Symlink, "loop"),
            ("broken", EntryType::Symlink, "nowhere"),
        ]));
        let staged = staged.unwrap();
        for path in ["a/layer.tar", "hard", "b/layer.tar", "./a/../b/layer.tar"] {
            let file = staged.file_at(path).unwrap();
            assert_eq!(file.digest, Digest::of(b"content"), "{path}");
            assert_eq!(fs_err::read(staged.path_of(&file)).unwrap(), b"content");
        }
        for path in ["loop", "broken", "none", "../b/layer.tar"] {
            staged.file_at(path).unwrap_err();
        }
        assert_eq!(staged.document("index.json"), Some(&b"{}"[..]));
    }

    #[test]
    fn links_that_lead_out_are_refused() {
        for target in ["../../etc/passwd", "/etc/passwd"] {
            let (_folder, staged) = read(&archive(&[("a/b", EntryType::Symlink, target)]));
            let error = staged.unwrap_err().to_string();
            assert!(error.contains("leads out of the archive"), "{error}");
        }
    }

    #[test]
    fn small_archives_make_no_large_ones() {
        let refused = |header: &tar::Header, content: &[u8]| {
            let archive = [header.as_bytes(), content].concat();
            let (_folder, staged) = read(&archive);
            staged.unwrap_err().to_string()
        };
        let mut header = tar::Header::new_gnu();
        for kind in [
            EntryType::GNULongName,
            EntryType::GNULongLink,
            EntryType::XHeader,
        ] {
            header.set_entry_type(kind);
            header.set_size(1 << 40);
            header.set_cksum();
            let error = refused(&header, &vec![b'x'; MAX_HEADERS]);
            assert!(error.contains("extended header is too large"), "{error}");
        }
        let mut header = tar::Header::new_gnu();
        header.set_path("layer.tar").unwrap();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_size(0);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.sparse[0].set_offset(1 << 46);
        gnu.sparse[0].set_length(0);
        gnu.set_real_size(1 << 46);
        header.set_cksum();
        let error = refused(&header, &[0; 1024]);
        assert!(error.contains("sparse file is too large"), "{error}");
    }

    #[test]
    fn what_is_no_archive_says_so() {
        let check = |bytes: &[u8], expected: &str| {
            let (folder, staged) = read(bytes);
            assert_eq!(staged.unwrap_err().to_string(), expected);
            let tmp = folder.path().join("store/tmp");
            assert_eq!(fs_err::read_dir(tmp).unwrap().count(), 0);
        };
        check(b"", "unexpected EOF");
        check(&[b'x'; 2000], "unrecognized image format");
        let whole = archive(&[("file", EntryType::Regular, &"x".repeat(2000))]);
        check(&whole[..1000], "the archive is damaged: unexpected EOF");
    }
}
