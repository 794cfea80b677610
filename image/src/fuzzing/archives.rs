//! Archives of images, as `load` takes them.

use std::sync::Arc;

use crate::archive::{
    ArchiveImage, Loaded, Output, export_target, load, load_folder, missing_blobs, save,
};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::layer::{LayerStore, NoFetcher, OpaqueMark, Ownership, TreeOptions};
use crate::layout::{Layout, Selector};
use crate::manifest::Descriptor;
use crate::platform::Platform;
use crate::store::Store;
use crate::validate::validate;

/// Most members of an archive that is made from an input.
const MOST_MEMBERS: usize = 24;

/// Any archive is loaded or refused. What is loaded is whole, is what it says it is, and can be saved
/// and loaded again as the same; nothing else is left behind.
///
/// The input is an archive's members, so that digests can be right; see [`members_of`]. One that
/// begins with `!` is an archive as it is.
pub fn archives(input: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let layout = folder.path().join("layout");
    fs_err::create_dir_all(layout.join("blobs/sha256")).expect("a folder can be made");
    let archive = if let Some(archive) = input.strip_prefix(b"!") {
        archive.to_vec()
    } else {
        let members = members_of(input);
        for member in members.iter().filter(|member| member.link.is_none()) {
            let is_in_place =
                member.name.starts_with("blobs/sha256/") || !member.name.contains('/');
            if is_in_place && !member.name.contains("..") {
                // Names that no file can have are left out.
                drop(fs_err::write(layout.join(&member.name), &member.content));
            }
        }
        archive_of(&members)
    };
    let store = Store::open(&folder.path().join("store")).expect("a store can be made");
    let layers = layer_store(&store);
    let loaded = load(&layers, &archive[..], &[]);
    let tmp = store.root().join("tmp");
    assert_eq!(fs_err::read_dir(tmp).expect("it is there").count(), 0);
    if let Ok(loaded) = loaded {
        check(&store, &loaded);
        let other = Store::open(&folder.path().join("other")).expect("a store can be made");
        save_and_load(&store, &other, &loaded);
    }
    read_layout(&layout, &store);
}

fn layer_store(store: &Store) -> LayerStore {
    let options = TreeOptions {
        ownership: Ownership::Recorded,
        opaque: OpaqueMark::User,
    };
    LayerStore::new(store.clone(), options, 1, Arc::new(NoFetcher))
}

/// What is loaded is whole.
fn check(store: &Store, loaded: &[Loaded]) {
    assert!(!loaded.is_empty());
    for Loaded { record, .. } in loaded {
        for image in &record.images {
            let bytes = store
                .read_blob(&image.config, ImageConfig::MAX_BYTES)
                .expect("the config is there");
            let config = ImageConfig::parse(&bytes).expect("the config can be read");
            for diff_id in config.rootfs.diff_ids {
                assert!(layer_store(store).is_available(&diff_id), "{diff_id:?}");
            }
            if let Some(manifest) = &image.manifest {
                let found = validate(store, manifest);
                // An index may say what it likes of platforms: docker loads those, too.
                let is_sound = matches!(found, Ok(()) | Err(ImageError::Inconsistent { .. }));
                assert!(is_sound, "{found:?}");
            }
        }
    }
}

fn save_and_load(store: &Store, other: &Store, loaded: &[Loaded]) {
    let mut images = Vec::new();
    for Loaded { record, names } in loaded {
        let Ok(target) = export_target(store, record, &[]) else {
            continue; // docker's own format has no manifest
        };
        let missing = missing_blobs(store, &target).expect("the store can be read");
        if missing.is_empty() {
            let names = names.clone();
            images.push(ArchiveImage { target, names });
        }
    }
    if images.is_empty() {
        return;
    }
    let mut archive = Vec::new();
    save(store, &images, &mut Output::Stream(&mut archive)).expect("what is whole can be saved");
    let again = load(&layer_store(other), &archive[..], &[]).expect("what was saved can be loaded");
    let mut before: Vec<&Digest> = images.iter().map(|image| &image.target.digest).collect();
    let mut after: Vec<Digest> = again
        .iter()
        .filter_map(|loaded| export_target(other, &loaded.record, &[]).ok())
        .map(|target| target.digest)
        .collect();
    before.sort();
    before.dedup();
    after.sort();
    after.dedup();
    assert_eq!(before, after.iter().collect::<Vec<_>>());
}

/// The same members as a folder.
fn read_layout(path: &std::path::Path, store: &Store) {
    let Ok(layout) = Layout::open(path) else {
        return;
    };
    let platform = Platform::new("linux", "amd64");
    for selector in [Selector::Default, Selector::Tag("latest".to_owned())] {
        if let Ok(chosen) = layout.choose(&selector, &platform) {
            assert!(chosen.descriptor.size >= chosen.bytes.len() as u64);
            chosen
                .descriptor
                .verify(&chosen.bytes)
                .expect("it was checked");
            let config: Option<&Descriptor> = Some(&chosen.manifest.config);
            for blob in chosen.manifest.blobs().chain(config) {
                let _bytes = layout.read_blob(blob, 1 << 20);
            }
        }
    }
    if let Ok(loaded) = load_folder(&layer_store(store), path, &[]) {
        check(store, &loaded);
    }
}

struct Member {
    name: String,
    content: Vec<u8>,
    link: Option<String>,
}

/// Reads members, apart by the byte 255: a name up to the first NUL, then the content. In front of
/// the name `@` makes a symbolic link of it, and `%` a layer that has one file with the content.
///
/// In names and contents `$D` and a letter is the digest of the member of that number (`a` is the
/// first), `$H` its digest without `sha256:`, `$S` its size; a name's own is `$.`.
fn members_of(input: &[u8]) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for part in input.split(|byte| *byte == 255).take(MOST_MEMBERS) {
        let mut halves = part.splitn(2, |byte| *byte == 0);
        let name = String::from_utf8_lossy(halves.next().unwrap_or_default()).into_owned();
        let content = fill_in(halves.next().unwrap_or_default(), &members);
        let (name, content, link) = if let Some(name) = name.strip_prefix('@') {
            let target = String::from_utf8_lossy(&content).into_owned();
            (name.to_owned(), Vec::new(), Some(target))
        } else if let Some(name) = name.strip_prefix('%') {
            let file = Member {
                name: "file".to_owned(),
                content,
                link: None,
            };
            (name.to_owned(), archive_of(&[file]), None)
        } else {
            (name, content, None)
        };
        let own = Digest::of(&content).hex();
        let name = name.replace("$.", &own);
        let name = String::from_utf8_lossy(&fill_in(name.as_bytes(), &members)).into_owned();
        members.push(Member {
            name,
            content,
            link,
        });
    }
    members
}

fn fill_in(text: &[u8], members: &[Member]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let named = match after {
            [what @ (b'D' | b'H' | b'S'), number, ..] if *byte == b'$' => {
                let member = members.get(usize::from(number.wrapping_sub(b'a')));
                member.map(|member| match what {
                    b'D' => Digest::of(&member.content).to_string(),
                    b'H' => Digest::of(&member.content).hex(),
                    _ => member.content.len().to_string(),
                })
            }
            _ => None,
        };
        if let Some(named) = named {
            filled.extend_from_slice(named.as_bytes());
            rest = &after[2..];
        } else {
            filled.push(*byte);
            rest = after;
        }
    }
    filled
}

fn archive_of(members: &[Member]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        // Names that an archive cannot have are left out.
        if let Some(target) = &member.link {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            drop(builder.append_link(&mut header, &member.name, target));
        } else {
            header.set_size(member.content.len() as u64);
            drop(builder.append_data(&mut header, &member.name, &member.content[..]));
        }
    }
    builder.into_inner().expect("memory takes all")
}
