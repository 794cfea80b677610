//! The layer store: one form of a layer from another, fetching, damage, and many at once.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod layer_support;

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use layer_support::{
    check_tree, dir, file, hardlink, listing, opaque, symlink, tree_options, whiteout, write_tar,
};
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::error::ImageError;
use rbuild_image::layer::entry::Entry;
use rbuild_image::layer::{
    BlobFetcher, Compression, KeepBlob, LayerStore, Method, NoFetcher, Origin, compress,
};
use rbuild_image::manifest::Descriptor;
use rbuild_image::media::{OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD};
use rbuild_image::store::Store;

/// Serves blobs from memory.
#[derive(Default)]
struct Remote {
    blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    n_fetched: AtomicUsize,
    /// After how many bytes the next connection breaks.
    breaks_after: Mutex<Option<usize>>,
    /// How many bytes were there when a download went on.
    resumed_at: Mutex<Vec<usize>>,
}

/// A connection that breaks at its end.
struct Broken(std::io::Cursor<Vec<u8>>);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer) {
            Ok(0) => Err(std::io::ErrorKind::ConnectionReset.into()),
            other => other,
        }
    }
}

impl BlobFetcher for Remote {
    fn fetch(&self, origin: &Origin) -> Result<Box<dyn Read + Send>, ImageError> {
        self.n_fetched.fetch_add(1, Ordering::SeqCst);
        let blobs = self.blobs.lock().unwrap();
        let bytes = blobs.get(&origin.descriptor.digest).cloned();
        let bytes = bytes.ok_or_else(|| ImageError::Fetch {
            digest: origin.descriptor.digest,
            origin: origin.location.clone(),
            source: "404".into(),
        })?;
        Ok(match self.breaks_after.lock().unwrap().take() {
            Some(n_bytes) => Box::new(Broken(std::io::Cursor::new(bytes[..n_bytes].to_vec()))),
            None => Box::new(std::io::Cursor::new(bytes)),
        })
    }

    fn resume(&self, origin: &Origin, n_have: u64) -> Result<Box<dyn Read + Send>, ImageError> {
        let (n_have, mut all) = (usize::try_from(n_have).unwrap(), Vec::new());
        self.fetch(origin)?.read_to_end(&mut all).unwrap();
        self.resumed_at.lock().unwrap().push(n_have);
        Ok(Box::new(std::io::Cursor::new(all.split_off(n_have))))
    }
}

struct Place {
    folder: tempfile::TempDir,
    remote: Arc<Remote>,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            remote: Arc::default(),
        }
    }

    fn layers(&self) -> LayerStore {
        let store = Store::open(&self.folder.path().join("store")).unwrap();
        let options = tree_options(self.folder.path());
        LayerStore::new(
            store,
            options,
            2,
            Arc::clone(&self.remote) as Arc<dyn BlobFetcher>,
        )
    }

    fn file(&self, diff_id: &DiffId, name: &str) -> PathBuf {
        self.folder
            .path()
            .join("store/layers")
            .join(diff_id.0.hex())
            .join(name)
    }

    /// Everything in the store that is a blob or a form of a layer, but for records and locks.
    fn kept(&self) -> Vec<String> {
        let root = self.folder.path().join("store");
        let mut kept = Vec::new();
        for folder in ["blobs/sha256", "tmp"] {
            for entry in fs_err::read_dir(root.join(folder)).unwrap() {
                kept.push(format!("{folder}/{:?}", entry.unwrap().file_name()));
            }
        }
        for layer in fs_err::read_dir(root.join("layers")).unwrap() {
            for entry in fs_err::read_dir(layer.unwrap().path()).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name != "lock" && name != "blobs.json" {
                    kept.push(name);
                }
            }
        }
        kept
    }
}

fn entries() -> Vec<Entry> {
    vec![
        dir("bin"),
        file("bin/sh", b"#!/bin/true"),
        hardlink("bin/zsh", "bin/sh"),
        opaque("etc"),
        file("etc/passwd", b"root:x:0:0"),
        symlink("sh", "bin/sh"),
        whiteout("was"),
    ]
}

fn content() -> BTreeMap<Vec<u8>, Vec<u8>> {
    BTreeMap::from([
        (b"bin/sh".to_vec(), b"#!/bin/true".to_vec()),
        (b"etc/passwd".to_vec(), b"root:x:0:0".to_vec()),
    ])
}

fn tar() -> Vec<u8> {
    write_tar(&entries(), &content())
}

fn diff_id() -> DiffId {
    DiffId(Digest::of(&tar()))
}

fn packed_as(compression: Compression) -> Vec<u8> {
    let mut out = Vec::new();
    compress::<_, ImageError>(&mut out, compression, 1, |sink| {
        sink.write_all(&tar()).map_err(ImageError::io("test"))
    })
    .unwrap();
    out
}

fn publish(layers: &LayerStore, keep: KeepBlob) -> DiffId {
    let content = content();
    let packed = layers.pack::<ImageError>(keep, |packer| {
        entries().into_iter().try_for_each(|entry| {
            let bytes = content.get(&entry.path).cloned().unwrap_or_default();
            packer.add(entry, Some(&mut bytes.as_slice())).map(drop)
        })
    });
    let packed = packed.unwrap();
    let diff_id = packed.diff_id;
    layers.publish_packed(packed, None).unwrap();
    diff_id
}

/// Makes the layer available at the remote, in the given bytes.
fn offer(
    place: &Place,
    layers: &LayerStore,
    diff_id: DiffId,
    media_type: &str,
    bytes: &[u8],
) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    place
        .remote
        .blobs
        .lock()
        .unwrap()
        .insert(descriptor.digest, bytes.to_vec());
    let origin = Origin {
        kind: "registry".to_owned(),
        location: "example.com/base".to_owned(),
        descriptor: descriptor.clone(),
    };
    layers.add_origin(&diff_id, origin).unwrap();
    descriptor
}

#[test]
fn from_a_blob_comes_everything() {
    let place = Place::new();
    let id = publish(&place.layers(), KeepBlob::Yes);
    assert_eq!(id, diff_id());
    // Another process, so to say.
    let layers = place.layers();
    assert_eq!(
        listing(layers.index(&id).unwrap().entries()),
        listing(entries())
    );
    let summary = place.layers().summary(&id).unwrap();
    assert_eq!(
        summary.content_digest,
        layers.index(&id).unwrap().content_digest()
    );
    assert_eq!(layers.layer_size(&id).unwrap(), 21);
    assert!(!layers.has_tree(&id));
    let tree = layers.tree(&id).unwrap();
    assert!(layers.has_tree(&id));
    check_tree(
        &tree,
        &layers.index(&id).unwrap(),
        tree_options(place.folder.path()),
    );
    let plain = layers.blob(&id, Compression::None).unwrap();
    assert_eq!((plain.digest, plain.size), (id.0, tar().len() as u64));
    assert_eq!(plain.media_type, OCI_LAYER);
    let gzip = layers.blob(&id, Compression::Gzip).unwrap();
    assert_eq!(
        gzip,
        Descriptor::of(OCI_LAYER_GZIP, &packed_as(Compression::Gzip))
    );
    assert_eq!(
        layers.store().read_blob(&gzip.digest, 1 << 20).unwrap(),
        packed_as(Compression::Gzip)
    );
    assert_eq!(place.layers().blob(&id, Compression::Gzip).unwrap(), gzip);
    assert_eq!(place.remote.n_fetched.load(Ordering::SeqCst), 0);
}

#[test]
fn from_a_tree_comes_the_blob() {
    let place = Place::new();
    let layers = place.layers();
    // What a RUN does: a tree that is there already, and an index made by walking it.
    let made = Place::new();
    publish(&made.layers(), KeepBlob::Yes);
    let tree = made.layers().tree(&diff_id()).unwrap();
    let moved = place.folder.path().join("store/tmp/upper");
    fs_err::rename(tree, &moved).unwrap();
    let content = content();
    let packed = layers.pack::<ImageError>(KeepBlob::No, |packer| {
        entries().into_iter().try_for_each(|entry| {
            let bytes = content.get(&entry.path).cloned().unwrap_or_default();
            packer.add(entry, Some(&mut bytes.as_slice())).map(drop)
        })
    });
    let packed = packed.unwrap();
    assert_eq!(packed.blob, None);
    let id = packed.diff_id;
    layers.publish_packed(packed, Some(&moved)).unwrap();
    assert!(!moved.try_exists().unwrap());
    assert!(!layers.store().has_blob(&id.0));
    let zstd = layers.blob(&id, Compression::Zstd).unwrap();
    assert_eq!(
        zstd,
        Descriptor::of(OCI_LAYER_ZSTD, &packed_as(Compression::Zstd))
    );
    assert_eq!(layers.blob(&id, Compression::None).unwrap().digest, id.0);
    // A tree that somebody changed makes no blob.
    layers.store().remove_blob(&id.0).unwrap();
    layers.store().remove_blob(&zstd.digest).unwrap();
    fs_err::write(place.file(&id, "tree/bin/sh"), b"#!/bin/evil").unwrap();
    let error = layers.blob(&id, Compression::None).unwrap_err();
    assert!(
        matches!(error, ImageError::DiffIdMismatch { .. }),
        "{error}"
    );
    assert!(!layers.store().has_blob(&id.0));
}

#[test]
fn a_layer_is_fetched_when_it_is_needed() {
    for (compression, media_type) in [
        (Compression::None, OCI_LAYER),
        (Compression::Gzip, OCI_LAYER_GZIP),
        (Compression::Zstd, OCI_LAYER_ZSTD),
        // Media types lie.
        (Compression::Zstd, OCI_LAYER_GZIP),
    ] {
        let place = Place::new();
        let layers = place.layers();
        let id = diff_id();
        let error = layers.index(&id).unwrap_err();
        assert!(
            matches!(error, ImageError::LayerUnavailable { .. }),
            "{error}"
        );
        let blob = offer(&place, &layers, id, media_type, &packed_as(compression));
        assert_eq!(place.remote.n_fetched.load(Ordering::SeqCst), 0);
        let tree = layers.tree(&id).unwrap();
        check_tree(
            &tree,
            &layers.index(&id).unwrap(),
            tree_options(place.folder.path()),
        );
        let again = place.layers();
        assert_eq!(again.blob(&id, compression).unwrap().digest, blob.digest);
        again.blob(&id, Compression::None).unwrap();
        assert_eq!(place.remote.n_fetched.load(Ordering::SeqCst), 1);
        assert_eq!(again.origins(&id).len(), 1);
    }
}

/// A broken connection costs what it has not brought yet; damaged leftovers cost themselves.
#[test]
fn a_download_goes_on_where_it_ended() {
    for damaged in [false, true] {
        let place = Place::new();
        let layers = place.layers();
        let bytes = packed_as(Compression::None);
        let half = bytes.len() / 2;
        let blob = offer(&place, &layers, diff_id(), OCI_LAYER, &bytes);
        let part = layers.store().ingest_path(&blob.digest);
        *place.remote.breaks_after.lock().unwrap() = Some(half);
        layers.tree(&diff_id()).unwrap_err();
        assert_eq!(fs_err::read(&part).unwrap(), bytes[..half]);
        if damaged {
            fs_err::write(&part, vec![b'x'; half]).unwrap();
        }
        layers.tree(&diff_id()).unwrap();
        assert_eq!(*place.remote.resumed_at.lock().unwrap(), [half]);
        assert_eq!(
            layers.store().read_blob(&blob.digest, 1 << 20).unwrap(),
            bytes
        );
        assert_eq!(fs_err::read_dir(part.parent().unwrap()).unwrap().count(), 0);
    }
    // What is wrong is not kept.
    let place = Place::new();
    let layers = place.layers();
    let blob = offer(
        &place,
        &layers,
        diff_id(),
        OCI_LAYER,
        &packed_as(Compression::None),
    );
    place
        .remote
        .blobs
        .lock()
        .unwrap()
        .insert(blob.digest, b"other".to_vec());
    layers.tree(&diff_id()).unwrap_err();
    let part = layers.store().ingest_path(&blob.digest);
    assert_eq!(fs_err::read_dir(part.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_pulled_blob_is_the_one_that_is_pushed() {
    let place = Place::new();
    let layers = place.layers();
    // Somebody else's gzip: one member, another level.
    let mut theirs = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    theirs.write_all(&tar()).unwrap();
    let theirs = theirs.finish().unwrap();
    let blob = offer(&place, &layers, diff_id(), OCI_LAYER_GZIP, &theirs);
    assert_ne!(theirs, packed_as(Compression::Gzip));
    assert_eq!(
        layers.blob(&diff_id(), Compression::Gzip).unwrap().digest,
        blob.digest
    );
    // It was pruned meanwhile: it is fetched again, not made anew.
    layers.tree(&diff_id()).unwrap();
    layers.store().remove_blob(&blob.digest).unwrap();
    assert_eq!(
        layers.blob(&diff_id(), Compression::Gzip).unwrap().digest,
        blob.digest
    );
    assert_eq!(place.remote.n_fetched.load(Ordering::SeqCst), 2);
    // It is not to be had any more: then ours, from the tree.
    layers.store().remove_blob(&blob.digest).unwrap();
    place.remote.blobs.lock().unwrap().clear();
    let ours = layers.blob(&diff_id(), Compression::Gzip).unwrap();
    assert_eq!(ours.digest, Digest::of(&packed_as(Compression::Gzip)));
}

#[test]
fn a_level_has_a_blob_of_its_own() {
    let place = Place::new();
    let layers = place.layers();
    let mut theirs = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    theirs.write_all(&tar()).unwrap();
    let theirs = theirs.finish().unwrap();
    let id = diff_id();
    let pulled = offer(&place, &layers, id, OCI_LAYER_GZIP, &theirs);
    let at = |level| layers.blob(&id, Method::at_level(Compression::Gzip, level));
    let best = at(9).unwrap();
    assert_ne!(best.digest, pulled.digest);
    assert_eq!(at(9).unwrap(), best);
    // The default by name is what is made here, not what was pulled.
    let default = at(6).unwrap();
    assert_eq!(default.digest, Digest::of(&packed_as(Compression::Gzip)));
    assert_eq!(
        layers.blob(&id, Compression::Gzip).unwrap().digest,
        pulled.digest
    );
    let mut known = layers.known_blobs(&id);
    known.sort_unstable();
    let mut expected = vec![pulled.digest, best.digest, default.digest];
    expected.sort_unstable();
    assert_eq!(known, expected);
    // One that was removed is made again as it was, for who has only its name.
    layers.store().remove_blob(&best.digest).unwrap();
    layers.bring_blob(&id, &best).unwrap();
    assert!(layers.store().has_blob(&best.digest));
    // Nothing else is lost with a blob that is damaged.
    for blob in [&default, &pulled] {
        layers.store().remove_blob(&blob.digest).unwrap();
    }
    place.remote.blobs.lock().unwrap().clear();
    let ours = layers.blob(&id, Compression::Gzip).unwrap();
    assert_eq!(ours, default);
    assert_eq!(at(9).unwrap(), best);
}

#[test]
fn wrong_bytes_leave_nothing_behind() {
    let good = packed_as(Compression::Gzip);
    let mut other = entries();
    other.pop();
    let mut other_gzip = Vec::new();
    compress::<_, ImageError>(&mut other_gzip, Compression::Gzip, 1, |sink| {
        sink.write_all(&write_tar(&other, &content()))
            .map_err(ImageError::io("test"))
    })
    .unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        bytes
    };
    for (served, expected) in [
        (other_gzip.clone(), "has digest"),
        (flipped(8), "has digest"),
        (flipped(good.len() / 2), "has digest"),
        (good[..good.len() - 1].to_vec(), "bytes instead of"),
        ([good.as_slice(), b"x"].concat(), "bytes instead of"),
        (good.repeat(1000), "bytes instead of"),
        (Vec::new(), "bytes instead of"),
    ] {
        let place = Place::new();
        let layers = place.layers();
        let blob = offer(&place, &layers, diff_id(), OCI_LAYER_GZIP, &good);
        place
            .remote
            .blobs
            .lock()
            .unwrap()
            .insert(blob.digest, served.clone());
        // Of equal length, or the length would be noticed first.
        let expected = if served.len() == good.len() {
            expected
        } else {
            "bytes instead of"
        };
        for _ in 0..2 {
            let error = layers.tree(&diff_id()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains(&blob.digest.hex()), "{error}");
            layers.index(&diff_id()).unwrap_err();
            layers.blob(&diff_id(), Compression::Gzip).unwrap_err();
            layers.blob(&diff_id(), Compression::None).unwrap_err();
        }
        assert!(place.kept().is_empty(), "{:?}", place.kept());
        place
            .remote
            .blobs
            .lock()
            .unwrap()
            .insert(blob.digest, good.clone());
        layers.tree(&diff_id()).unwrap();
    }
    // The bytes are what the descriptor says, but not the layer that they should be.
    let place = Place::new();
    let layers = place.layers();
    offer(&place, &layers, diff_id(), OCI_LAYER_GZIP, &other_gzip);
    let error = layers.tree(&diff_id()).unwrap_err();
    assert!(
        matches!(error, ImageError::DiffIdMismatch { .. }),
        "{error}"
    );
    assert!(place.kept().is_empty(), "{:?}", place.kept());
}

#[test]
fn a_hostile_layer_leaves_nothing_behind() {
    let place = Place::new();
    let layers = place.layers();
    let mut bad = tar();
    bad.truncate(bad.len() - 1024);
    bad.extend_from_slice(&[b'x'; 512]);
    let id = DiffId(Digest::of(&bad));
    offer(&place, &layers, id, OCI_LAYER, &bad);
    layers.tree(&id).unwrap_err();
    layers.index(&id).unwrap_err();
    assert!(place.kept().is_empty(), "{:?}", place.kept());
}

#[test]
fn the_next_origin_is_asked() {
    let place = Place::new();
    let layers = place.layers();
    let good = packed_as(Compression::Zstd);
    offer(
        &place,
        &layers,
        diff_id(),
        OCI_LAYER_GZIP,
        &packed_as(Compression::Gzip),
    );
    place.remote.blobs.lock().unwrap().clear();
    offer(&place, &layers, diff_id(), OCI_LAYER_ZSTD, &good);
    layers.tree(&diff_id()).unwrap();
    let gzip = layers.blob(&diff_id(), Compression::Gzip).unwrap();
    assert_eq!(gzip.digest, Digest::of(&packed_as(Compression::Gzip)));
}

#[test]
fn damage_in_the_store_is_noticed_and_mended() {
    let place = Place::new();
    let layers = place.layers();
    let good = packed_as(Compression::Gzip);
    let blob = offer(&place, &layers, diff_id(), OCI_LAYER_GZIP, &good);
    layers.index(&diff_id()).unwrap();
    let path = layers.store().blob_path(&blob.digest);
    let damage: [&dyn Fn(); 5] = [
        &|| {
            let mut bytes = good.clone();
            bytes[good.len() / 2] ^= 1;
            fs_err::remove_file(&path).unwrap();
            fs_err::write(&path, bytes).unwrap();
        },
        &|| {
            fs_err::remove_file(&path).unwrap();
            fs_err::write(&path, b"").unwrap();
        },
        &|| fs_err::remove_file(&path).unwrap(),
        &|| fs_err::write(place.file(&diff_id(), "index"), b"rubbish").unwrap(),
        &|| fs_err::remove_file(place.file(&diff_id(), "index")).unwrap(),
    ];
    for damage in damage {
        damage();
        drop(fs_err::remove_file(place.file(&diff_id(), "index")));
        let layers = place.layers();
        assert_eq!(
            listing(layers.index(&diff_id()).unwrap().entries()),
            listing(entries())
        );
        let plain = layers.blob(&diff_id(), Compression::None).unwrap();
        assert_eq!(
            layers.store().read_blob(&plain.digest, 1 << 20).unwrap(),
            tar()
        );
        layers.store().remove_blob(&plain.digest).unwrap();
    }
    // With its record the store forgets where the layer came from, and says so.
    fs_err::write(place.file(&diff_id(), "blobs.json"), b"{").unwrap();
    fs_err::remove_file(place.file(&diff_id(), "index")).unwrap();
    let error = place.layers().index(&diff_id()).unwrap_err();
    assert!(
        matches!(error, ImageError::LayerUnavailable { .. }),
        "{error}"
    );
    place.layers().adopt_blob(&diff_id(), &blob).unwrap();
    place.layers().index(&diff_id()).unwrap();
}

#[test]
fn what_was_not_synced_before_a_crash_is_made_again() {
    let place = Place::new();
    let layers = place.layers();
    let id = publish(&layers, KeepBlob::Yes);
    let tree = layers.tree(&id).unwrap();
    assert!(place.file(&id, "unsynced").try_exists().unwrap());
    // The machine crashed, and the file system kept names but not bytes.
    fs_err::write(place.file(&id, "unsynced"), b"another boot\n").unwrap();
    fs_err::write(tree.join("bin/sh"), b"").unwrap();
    let layers = place.layers();
    assert!(!layers.has_tree(&id) && layers.summary(&id).is_none());
    let tree = layers.tree(&id).unwrap();
    check_tree(
        &tree,
        &layers.index(&id).unwrap(),
        tree_options(place.folder.path()),
    );
    layers.sync().unwrap();
    assert!(!place.file(&id, "unsynced").try_exists().unwrap());
    assert!(place.layers().has_tree(&id));
    // Only what this process wrote does it take for synced.
    fs_err::write(place.file(&id, "unsynced"), b"somebody\n").unwrap();
    layers.sync().unwrap();
    assert!(place.file(&id, "unsynced").try_exists().unwrap());
}

#[test]
fn many_want_the_same_layer() {
    let place = Place::new();
    let id = diff_id();
    offer(
        &place,
        &place.layers(),
        id,
        OCI_LAYER_GZIP,
        &packed_as(Compression::Gzip),
    );
    std::thread::scope(|scope| {
        for n in 0..12 {
            let layers = place.layers();
            scope.spawn(move || match n % 3 {
                0 => drop(layers.tree(&id).unwrap()),
                1 => drop(layers.index(&id).unwrap()),
                _ => drop(layers.blob(&id, Compression::None).unwrap()),
            });
        }
    });
    assert!(place.remote.n_fetched.load(Ordering::SeqCst) <= 1);
    let layers = place.layers();
    check_tree(
        &layers.tree(&id).unwrap(),
        &layers.index(&id).unwrap(),
        tree_options(place.folder.path()),
    );
    assert!(
        fs_err::read_dir(place.folder.path().join("store/tmp"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn publishing_twice_keeps_the_first_tree() {
    let place = Place::new();
    let layers = place.layers();
    let id = publish(&layers, KeepBlob::Yes);
    layers.tree(&id).unwrap();
    let second = place.folder.path().join("store/tmp/second");
    fs_err::create_dir(&second).unwrap();
    let content = content();
    let packed = layers.pack::<ImageError>(KeepBlob::No, |packer| {
        entries().into_iter().try_for_each(|entry| {
            let bytes = content.get(&entry.path).cloned().unwrap_or_default();
            packer.add(entry, Some(&mut bytes.as_slice())).map(drop)
        })
    });
    layers
        .publish_packed(packed.unwrap(), Some(&second))
        .unwrap();
    assert!(second.try_exists().unwrap());
    check_tree(
        &layers.tree(&id).unwrap(),
        &layers.index(&id).unwrap(),
        tree_options(place.folder.path()),
    );
}

#[test]
fn without_a_fetcher_nothing_is_fetched() {
    let place = Place::new();
    let store = Store::open(&place.folder.path().join("store")).unwrap();
    let layers = LayerStore::new(
        store,
        tree_options(place.folder.path()),
        1,
        Arc::new(NoFetcher),
    );
    offer(&place, &layers, diff_id(), OCI_LAYER, &tar());
    let error = layers.index(&diff_id()).unwrap_err();
    assert!(matches!(error, ImageError::Fetch { .. }), "{error}");
    assert!(
        layers
            .adopt_blob(&diff_id(), &Descriptor::of(OCI_LAYER, b"x"))
            .is_err()
    );
}
