//! Layers as archives: into an index, into a tree, and as another reader sees them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::layer::entry::{ContentDigest, Entry, EntryKind};
use crate::layer::path::{clean, is_below, is_clean};
use crate::layer::{
    LayerIndex, OpaqueMark, Ownership, TreeOptions, Whiteouts, decompress, pack, unpack,
};

/// Most bytes that are taken from a compressed stream: bombs are another test's business.
const LIMIT: u64 = 16 << 20;

/// Larger layers are not written to a disk.
const MOST_ON_DISK: u64 = 4 << 20;

const OPTIONS: TreeOptions = TreeOptions {
    ownership: Ownership::Recorded,
    opaque: OpaqueMark::User,
};

/// Any bytes, compressed or not, are a layer or are refused: in bounded memory, and with clean paths
/// only. A layer that is taken is in its tree and nowhere else, can be written and read again, and
/// holds what a plain reader of archives sees.
pub fn tar_ingest(bytes: &[u8]) {
    for whiteouts in [Whiteouts::Decode, Whiteouts::Refuse] {
        let Ok((_encoding, mut input)) = decompress(Box::new(bytes), Some(LIMIT)) else {
            return;
        };
        let Ok(unpacked) = unpack(&mut input, whiteouts, None) else {
            continue;
        };
        let index = unpacked.index;
        check_index(&index);
        if index.unpacked_size() <= MOST_ON_DISK {
            on_disk(bytes, whiteouts, &index);
        }
        if whiteouts == Whiteouts::Refuse {
            let plain = index.entries().iter().all(|entry| {
                !matches!(entry.kind, EntryKind::Whiteout)
                    && !matches!(entry.kind, EntryKind::Directory { opaque: true })
            });
            assert!(plain, "marks of removed files were to be refused");
            as_others_see_it(bytes, &index);
        }
    }
}

pub(super) fn check_index(index: &LayerIndex) {
    for entry in index.entries().iter().chain(index.implied()) {
        assert!(is_clean(&entry.path), "{:?}", entry.path);
    }
    let encoded = index.encode().expect("an index can be written");
    let read = LayerIndex::decode(&encoded).expect("what was written can be read");
    assert_eq!(&read, index);
    let again = LayerIndex::from_entries(index.entries().to_vec());
    assert_eq!(again.as_ref().ok(), Some(index));
}

/// Unpacks into a folder two levels deep, and looks at all there is then.
fn on_disk(bytes: &[u8], whiteouts: Whiteouts, index: &LayerIndex) {
    let outside = tempfile::tempdir().expect("a folder can be made");
    let tree = outside.path().join("around/tree");
    fs_err::create_dir_all(&tree).expect("a folder can be made");
    let root = fs_err::File::open(&tree).expect("the folder is there");
    let (_encoding, mut input) =
        decompress(Box::new(bytes), Some(LIMIT)).expect("it was decompressed before");
    // The disk may refuse what the index takes (a target that is too long); nothing may panic.
    let unpacked = unpack(&mut input, whiteouts, Some((root.file().as_fd(), OPTIONS)));
    let found = list(outside.path());
    for path in found.keys() {
        let is_around = matches!(path.as_slice(), b"around" | b"around/tree");
        assert!(is_around || path.starts_with(b"around/tree/"), "{path:?}");
    }
    let Ok(unpacked) = unpacked else { return };
    assert_eq!(&unpacked.index, index);
    let is_device = |entry: &Entry| {
        matches!(
            entry.kind,
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Whiteout
        )
    };
    let mut n_expected = 2;
    for entry in index.entries().iter().chain(index.implied()) {
        if entry.path.is_empty() || is_device(&entry) {
            continue;
        }
        let path = [b"around/tree/", entry.path.as_slice()].concat();
        let kind = found.get(&path).expect("each entry is in the tree");
        assert!(kind.is_like(&index.file_of(&entry)), "{path:?}");
        n_expected += 1;
    }
    let n_devices = index.entries().iter().filter(|e| is_device(e)).count();
    assert!((n_expected..=n_expected + n_devices).contains(&found.len()));
    packed_again(index, &tree);
}

/// What is in a folder.
enum OnDisk {
    File(Vec<u8>),
    Folder,
    Link(Vec<u8>),
    Other,
}

impl OnDisk {
    fn is_like(&self, entry: &Entry) -> bool {
        match (self, &entry.kind) {
            (Self::File(content), EntryKind::File { size, digest }) => {
                content.len() as u64 == *size && blake3::hash(content).as_bytes() == &digest.0
            }
            (Self::Folder, EntryKind::Directory { .. }) | (Self::Other, EntryKind::Fifo) => true,
            (Self::Link(found), EntryKind::Symlink { target }) => found == target,
            _ => false,
        }
    }
}

/// Lists all that is below a folder, by relative path. Whatever modes there are, root or the owner
/// must be able to look: files that cannot be read count as empty.
fn list(top: &Path) -> BTreeMap<Vec<u8>, OnDisk> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut found = BTreeMap::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        let open = std::fs::Permissions::from_mode(0o700);
        fs_err::set_permissions(&folder, open).expect("the owner may");
        for entry in fs_err::read_dir(&folder).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            let relative = path.strip_prefix(top).expect("it is below");
            let name = relative.as_os_str().as_bytes().to_vec();
            let kind = fs_err::symlink_metadata(&path)
                .expect("it is there")
                .file_type();
            let what = if kind.is_dir() {
                folders.push(path);
                OnDisk::Folder
            } else if kind.is_symlink() {
                let target = fs_err::read_link(&path).expect("it is a link");
                OnDisk::Link(target.as_os_str().as_bytes().to_vec())
            } else if kind.is_file() {
                let open = std::fs::Permissions::from_mode(0o600);
                fs_err::set_permissions(&path, open).expect("the owner may");
                OnDisk::File(fs_err::read(&path).expect("it can be read"))
            } else {
                OnDisk::Other
            };
            found.insert(name, what);
        }
    }
    found
}

/// A layer that was taken can be written as an archive, and read again it is the same.
fn packed_again(index: &LayerIndex, tree: &Path) {
    let mut blob = Vec::new();
    let mut entries = index.entries().to_vec();
    for entry in &mut entries {
        entry.mtime.nanoseconds = 0; // none are written
    }
    let packed = pack(Some(&mut blob), |packer| {
        for entry in &entries {
            let content = match &entry.kind {
                EntryKind::File { .. } => {
                    let path = tree.join(OsStr::from_bytes(&entry.path));
                    fs_err::read(path).expect("it can be read")
                }
                _ => Vec::new(),
            };
            packer.add(entry.clone(), Some(&mut content.as_slice()))?;
        }
        Ok::<(), crate::error::ImageError>(())
    })
    .expect("a layer that was read can be written");
    assert_eq!(packed.index.entries().to_vec(), entries);
    assert_eq!(packed.index.content_digest(), index.content_digest());
    let mut input = blob.as_slice();
    let again = unpack(&mut input, Whiteouts::Decode, None).expect("what was written can be read");
    assert_eq!(again.index, packed.index);
    assert_eq!(again.diff_id, packed.diff_id);
}

/// Compares with the `tar` crate, where an archive has only files and folders, and is in no dialect
/// that the crate does not know.
fn as_others_see_it(bytes: &[u8], index: &LayerIndex) {
    let Some(expected) = read_plainly(bytes) else {
        return;
    };
    let mut n_entries = 0;
    for entry in index.entries() {
        let found = expected.get(&entry.path);
        match &entry.kind {
            EntryKind::File { size, digest } => {
                assert_eq!(found, Some(&Some((*size, *digest))), "{:?}", entry.path);
            }
            _ => assert_eq!(found, Some(&None), "{:?}", entry.path),
        }
        n_entries += 1;
    }
    assert_eq!(n_entries, expected.len());
}

/// Files with size and digest, and folders, which have none.
type Listing = BTreeMap<Vec<u8>, Option<(u64, ContentDigest)>>;

/// Lists an archive as the `tar` crate reads it; the last of a path wins.
fn read_plainly(bytes: &[u8]) -> Option<Listing> {
    let decompressed = || Some(decompress(Box::new(bytes), Some(LIMIT)).ok()?.1);
    let mut raw = tar::Archive::new(decompressed()?);
    for entry in raw.entries().ok()?.raw(true) {
        let mut entry = entry.ok()?;
        let kind = entry.header().entry_type().as_byte();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).ok()?;
        let is_sparse = content.windows(11).any(|part| part == b"GNU.sparse.");
        let is_known = match kind {
            b'x' => !is_sparse,
            b'0' | 0 | b'5' | b'L' => true,
            _ => false,
        };
        if !is_known {
            return None;
        }
    }
    let mut found = Listing::new();
    let mut archive = tar::Archive::new(decompressed()?);
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let raw = entry.path_bytes().into_owned();
        let path = clean(&raw).ok()?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).ok()?;
        let is_folder = entry.header().entry_type().is_dir() || raw.ends_with(b"/");
        if path.is_empty() && !is_folder {
            continue;
        }
        if is_folder {
            found.insert(path, None);
        } else {
            found.retain(|other, _| !is_below(other, &path));
            let digest = ContentDigest(*blake3::hash(&content).as_bytes());
            found.insert(path, Some((content.len() as u64, digest)));
        }
    }
    Some(found)
}
