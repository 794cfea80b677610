//! Index files, and layers upon one another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::layer::entry::{ContentDigest, Entry, EntryKind, LayerPath, Mtime};
use crate::layer::path::{clean, is_below, is_clean, split_last};
use crate::layer::{Follow, IndexSummary, LayerIndex, Rootfs, index_file_of};

use super::layers::check_index;

/// Most layers, and entries of one, that are made from an input.
const MOST: usize = 64;

/// Any bytes are an index file or are refused, and layers upon one another are what a plain map that
/// takes them one by one says. The first byte tells what the rest is: a file; the body of a file,
/// whose checksums are then right; or layers, as in [`layers_of`].
pub fn layer_index(input: &[u8]) {
    match input.split_first() {
        Some((b'f', file)) => {
            let _summary = IndexSummary::decode(file);
            drop(LayerIndex::decode(file));
        }
        Some((b'b', rest)) => {
            if let Some((count, body)) = rest.split_first() {
                damaged_body(body, u64::from(*count));
            }
        }
        Some((b'l', text)) => stacked(&layers_of(text)),
        _ => {}
    }
}

/// A file with a body that somebody made up, and checksums that fit. A file's content digest is as
/// good as its checksums, so it is not what the entries come to here.
fn damaged_body(body: &[u8], n_entries: u64) {
    let summary = IndexSummary {
        content_digest: [7; 32],
        unpacked_size: 0,
        entries: n_entries,
    };
    let file = index_file_of(body, summary).expect("a file can be written");
    if let Ok(index) = LayerIndex::decode(&file) {
        check_index(&LayerIndex::from_entries(index.entries().to_vec()).expect("they are sound"));
    }
    assert_eq!(IndexSummary::decode(&file).ok(), Some(summary));
    // Nothing of a file can be changed.
    for place in (0..file.len()).step_by(7) {
        let mut damaged = file.clone();
        damaged[place] ^= 0x10;
        assert!(LayerIndex::decode(&damaged).is_err(), "byte {place}");
    }
    assert!(LayerIndex::decode(&file[..file.len() - 1]).is_err());
}

/// Reads layers: entries a line each, layers apart by an empty line. The first character of a line
/// is the kind (`f`, `d`, `o` for opaque, `l`, `h`, `p`, `w`), the next the size or owner, then comes
/// the path, and after `>` a target.
fn layers_of(text: &[u8]) -> Vec<LayerIndex> {
    let mut layers = Vec::new();
    let mut entries = Vec::new();
    for line in text.split(|byte| *byte == b'\n').chain([&b""[..]]) {
        if line.is_empty() {
            layers.extend(LayerIndex::from_entries(std::mem::take(&mut entries)));
        } else if entries.len() < MOST {
            entries.extend(entry_of(line));
        }
        if layers.len() >= MOST {
            break;
        }
    }
    layers
}

fn entry_of(line: &[u8]) -> Option<Entry> {
    let (kind, rest) = line.split_first()?;
    let (number, rest) = rest.split_first()?;
    let mut halves = rest.splitn(2, |byte| *byte == b'>');
    // Mostly paths are taken as they are: unclean ones are to be refused.
    let path = halves.next()?.to_vec();
    let target = halves.next().unwrap_or_default().to_vec();
    let kind = match kind {
        b'd' => EntryKind::Directory { opaque: false },
        b'o' => EntryKind::Directory { opaque: true },
        b'l' => EntryKind::Symlink { target },
        b'h' => EntryKind::Hardlink { target },
        b'p' => EntryKind::Fifo,
        b'w' => EntryKind::Whiteout,
        _ => EntryKind::File {
            size: u64::from(*number) << 56,
            digest: ContentDigest([*number; 32]),
        },
    };
    Some(Entry {
        path,
        mode: 0o644,
        uid: u32::from(*number),
        gid: 0,
        mtime: Mtime::default(),
        xattrs: BTreeMap::new(),
        kind,
    })
}

fn stacked(layers: &[LayerIndex]) {
    let mut rootfs = Rootfs::default();
    let mut model = Model::default();
    for layer in layers {
        check_index(layer);
        model.add(rootfs.layers().len(), layer);
        rootfs.push(Arc::new(layer.clone()));
    }
    let walked: Vec<_> = rootfs
        .walk(b"")
        .map(|found| (found.path().to_vec(), found.layer))
        .collect();
    let mut expected: Vec<_> = model.0.iter().map(|(p, (l, _))| (p.clone(), *l)).collect();
    expected.sort_by(|left, right| crate::layer::path::compare_paths(&left.0, &right.0));
    assert_eq!(walked, expected);
    for layer in layers {
        for entry in layer.entries().iter().chain(layer.implied()) {
            look_at(&rootfs, &model, &entry.path);
            if let EntryKind::Symlink { target } = &entry.kind {
                look_at(&rootfs, &model, &clean(target).unwrap_or_default());
            }
        }
    }
}

/// Compares all that can be asked of one path.
fn look_at(rootfs: &Rootfs, model: &Model, path: &[u8]) {
    let found = rootfs.lookup(path);
    let expected = model.0.get(path);
    assert_eq!(
        found.is_some(),
        expected.is_some() || path.is_empty(),
        "{path:?}"
    );
    if let (Some(found), Some((layer, entry))) = (&found, expected) {
        assert_eq!((found.layer, &found.name()), (*layer, entry), "{path:?}");
    }
    let below = |entries: Vec<LayerPath>, is_wanted: &dyn Fn(&[u8]) -> bool| {
        let expected = model.0.keys().filter(|other| is_wanted(other)).count();
        assert_eq!(entries.len(), expected, "{path:?}");
        assert!(entries.iter().all(|path| is_wanted(path)));
    };
    let is_child = |other: &[u8]| split_last(other).is_some_and(|(parent, _)| parent == path);
    below(
        rootfs.read_dir(path).map(|f| f.path().to_vec()).collect(),
        &is_child,
    );
    let is_within = |other: &[u8]| other == path || is_below(other, path);
    below(
        rootfs.walk(path).map(|f| f.path().to_vec()).collect(),
        &is_within,
    );
    for follow in [Follow::Last, Follow::NoFollow] {
        let Ok(resolved) = rootfs.resolve(path, follow) else {
            continue;
        };
        assert!(is_clean(&resolved.path) || resolved.path.len() > path.len());
        assert_eq!(resolved.found, rootfs.lookup(&resolved.path));
        let again = rootfs.resolve(&resolved.path, follow);
        assert_eq!(again.ok(), Some(resolved));
    }
}

/// A root file system as a map that each layer is put into: slow, and plain to see through.
#[derive(Default)]
struct Model(BTreeMap<LayerPath, (usize, Entry)>);

impl Model {
    fn add(&mut self, number: usize, layer: &LayerIndex) {
        for entry in layer.entries() {
            let hides = !matches!(entry.kind, EntryKind::Directory { opaque: false });
            let is_directory = matches!(entry.kind, EntryKind::Directory { .. });
            self.0.retain(|path, _| {
                let is_gone = hides && is_below(path, &entry.path);
                !is_gone && (is_directory || *path != entry.path)
            });
        }
        for entry in layer.implied() {
            let known = self.0.get(&entry.path);
            let is_kept = known.is_some_and(|(_, e)| matches!(e.kind, EntryKind::Directory { .. }));
            if !is_kept {
                self.0.insert(entry.path.clone(), (number, entry.clone()));
            }
        }
        for entry in layer.entries() {
            if !matches!(entry.kind, EntryKind::Whiteout) {
                self.0.insert(entry.path.clone(), (number, entry.clone()));
            }
        }
    }
}
