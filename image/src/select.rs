//! Finding the manifest for a platform behind a name: an image, an index, or an index of indexes.
//!
//! It knows no place: the caller fetches, from a registry, a layout or the store.

use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Document, Index, Manifest};
use crate::media::{self, Kind};
use crate::platform::Platform;

/// Indexes inside an index inside an index are not followed.
const MAX_INDEX_DEPTH: usize = 2;

/// Most entries of all indexes behind a name. One index has less than this, but it may name another
/// as often as it has entries.
const MAX_ENTRIES: usize = 100_000;

/// Most manifests that are fetched, with their configs, because no index says what they are for.
const MAX_ASKED: usize = 64;

/// Brings the bytes that a descriptor names, checked against it.
pub type Fetch<'a> = dyn FnMut(&Descriptor) -> Result<Vec<u8>, ImageError> + 'a;

/// The manifest that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Names the manifest, with its platform if the index knows it.
    pub descriptor: Descriptor,
    /// Its bytes as they came.
    pub bytes: Vec<u8>,
    /// What they say.
    pub manifest: Manifest,
    /// The platform the index gives, or the config's where the index gives none. `None` for a
    /// single manifest: then only the config knows, and it may be another than the one wanted.
    pub platform: Option<Platform>,
}

/// Returns the manifest behind `root` that suits `platform` best; a single manifest suits all.
///
/// # Errors
/// [`ImageError::NoMatchingPlatform`]; [`ImageError::NestedTooDeeply`]; what [`Document::parse`]
/// and `fetch` say.
pub fn choose(
    root: &Descriptor,
    platform: &Platform,
    fetch: &mut Fetch<'_>,
) -> Result<Chosen, ImageError> {
    let bytes = fetch(root)?;
    let index = match Document::parse(&bytes, &root.media_type)? {
        Document::Manifest(manifest) => {
            return Ok(Chosen {
                descriptor: root.clone(),
                bytes,
                manifest,
                platform: root.platform.clone(),
            });
        }
        Document::Index(index) => index,
    };
    let mut leaves = all_leaves(root, &index, fetch)?;
    let best = platform.select(leaves.iter().map(|leaf| leaf.platform.as_ref()));
    if let Some(best) = best
        && leaves[best].platform.is_some()
    {
        let leaf = leaves.swap_remove(best);
        return load(leaf, fetch);
    }
    choose_by_config(leaves, platform, fetch)
}

/// Returns every manifest behind `root`, in order, attestations left out. The manifests themselves
/// are not fetched, unless `root` is one.
///
/// # Errors
/// As for [`choose`], but for the platform.
pub fn leaves(root: &Descriptor, fetch: &mut Fetch<'_>) -> Result<Vec<Leaf>, ImageError> {
    let bytes = fetch(root)?;
    match Document::parse(&bytes, &root.media_type)? {
        Document::Manifest(_) => Ok(vec![Leaf {
            descriptor: root.clone(),
            platform: root.platform.clone(),
        }]),
        Document::Index(index) => all_leaves(root, &index, fetch),
    }
}

/// A manifest somewhere behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Names the manifest.
    pub descriptor: Descriptor,
    /// The platform that the index it is in gives, or the index around that.
    pub platform: Option<Platform>,
}

fn all_leaves(
    root: &Descriptor,
    index: &Index,
    fetch: &mut Fetch<'_>,
) -> Result<Vec<Leaf>, ImageError> {
    let mut search = Search {
        fetch,
        leaves: Vec::new(),
        n_entries: 0,
    };
    search.collect(root, index, None, 1)?;
    Ok(search.leaves)
}

/// Goes through indexes.
struct Search<'a, 'f> {
    fetch: &'a mut Fetch<'f>,
    leaves: Vec<Leaf>,
    n_entries: usize,
}

impl Search<'_, '_> {
    fn collect(
        &mut self,
        place: &Descriptor,
        index: &Index,
        outer: Option<&Platform>,
        depth: usize,
    ) -> Result<(), ImageError> {
        if depth > MAX_INDEX_DEPTH {
            return Err(ImageError::NestedTooDeeply {
                digest: place.digest,
            });
        }
        self.n_entries += index.manifests.len();
        if self.n_entries > MAX_ENTRIES {
            return Err(ImageError::TooMany {
                what: "images in an index",
                limit: MAX_ENTRIES,
            });
        }
        for entry in index.images() {
            let platform = entry.platform.as_ref().or(outer);
            if Kind::of(&entry.media_type) == Some(Kind::Index) {
                let bytes = (self.fetch)(entry)?;
                if let Document::Index(inner) = Document::parse(&bytes, &entry.media_type)? {
                    self.collect(entry, &inner, platform, depth + 1)?;
                }
            } else {
                self.leaves.push(Leaf {
                    descriptor: entry.clone(),
                    platform: platform.cloned(),
                });
            }
        }
        Ok(())
    }
}

fn load(leaf: Leaf, fetch: &mut Fetch<'_>) -> Result<Chosen, ImageError> {
    let bytes = fetch(&leaf.descriptor)?;
    match Document::parse(&bytes, &leaf.descriptor.media_type)? {
        Document::Manifest(manifest) => Ok(Chosen {
            descriptor: leaf.descriptor,
            bytes,
            manifest,
            platform: leaf.platform,
        }),
        Document::Index(_) => Err(ImageError::AmbiguousDocument {
            reason: "an index came where a manifest was announced".to_owned(),
        }),
    }
}

/// No entry says that it suits: those that say nothing are asked for their config.
fn choose_by_config(
    leaves: Vec<Leaf>,
    platform: &Platform,
    fetch: &mut Fetch<'_>,
) -> Result<Chosen, ImageError> {
    let mut candidates = Vec::new();
    let mut available = Vec::new();
    let n_asked = leaves.iter().filter(|leaf| leaf.platform.is_none()).count();
    if n_asked > MAX_ASKED {
        return Err(ImageError::TooMany {
            what: "images without a platform in an index",
            limit: MAX_ASKED,
        });
    }
    for leaf in leaves {
        if let Some(known) = &leaf.platform {
            available.push(known.to_string());
            continue;
        }
        let mut found = load(leaf, fetch)?;
        if media::is_config(&found.manifest.config.media_type) {
            let config = ImageConfig::parse(&fetch(&found.manifest.config)?)?.platform();
            available.push(config.to_string());
            found.platform = Some(config);
            candidates.push(found);
        }
    }
    let best = platform.select(candidates.iter().map(|found| found.platform.as_ref()));
    match best {
        Some(best) => Ok(candidates.swap_remove(best)),
        None => Err(ImageError::NoMatchingPlatform {
            wanted: platform.to_string(),
            available,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::digest::Digest;
    use crate::media::Format;

    #[derive(Default)]
    struct Blobs(BTreeMap<Digest, Vec<u8>>);

    impl Blobs {
        fn put(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
            let descriptor = Descriptor::of(media_type, &bytes);
            self.0.insert(descriptor.digest, bytes);
            descriptor
        }

        /// An image for `text`, with its platform in the descriptor or in the config only.
        fn image(&mut self, text: &str, is_announced: bool) -> Descriptor {
            let platform = Platform::parse(text).unwrap();
            let config = ImageConfig {
                os: platform.os.clone(),
                architecture: platform.architecture.clone(),
                ..ImageConfig::default()
            };
            let config = self.put(media::OCI_CONFIG, config.to_bytes());
            let manifest = Manifest::new(Format::Oci, config, Vec::new()).to_bytes();
            let mut entry = self.put(media::OCI_MANIFEST, manifest);
            entry.platform = is_announced.then_some(platform);
            entry
        }

        fn index(&mut self, entries: Vec<Descriptor>) -> Descriptor {
            let bytes = Index::new(Format::Oci, entries).to_bytes();
            self.put(media::OCI_INDEX, bytes)
        }

        fn check(&self, root: &Descriptor, wanted: &str, expected: Result<&str, &str>) {
            let mut fetch = |wanted: &Descriptor| {
                let bytes = self.0[&wanted.digest].clone();
                wanted.verify(&bytes)?;
                Ok(bytes)
            };
            let wanted = Platform::parse(wanted).unwrap();
            let found = choose(root, &wanted, &mut fetch)
                .map(|found| {
                    found
                        .platform
                        .map_or("?".to_owned(), |found| found.to_string())
                })
                .map_err(|error| error.to_string());
            assert_eq!(
                found,
                expected.map(str::to_owned).map_err(str::to_owned),
                "{wanted}"
            );
        }
    }

    #[test]
    fn the_best_entry_is_taken() {
        let mut blobs = Blobs::default();
        let (arm, amd) = (
            blobs.image("linux/arm64", true),
            blobs.image("linux/amd64", true),
        );
        let mut attestation = blobs.image("linux/s390x", false);
        attestation.platform = Some(Platform::new("unknown", "unknown"));
        let silent = blobs.image("linux/riscv64", false);
        let root = blobs.index(vec![arm, amd, attestation, silent]);
        blobs.check(&root, "linux/amd64", Ok("linux/amd64"));
        blobs.check(&root, "linux/riscv64", Ok("linux/riscv64"));
        blobs.check(
            &root,
            "linux/s390x",
            Err(
                "no matching manifest for linux/s390x in the manifest list entries \
                 (it has linux/arm64, linux/amd64, linux/riscv64)",
            ),
        );
    }

    #[test]
    fn a_single_manifest_suits_all() {
        let mut blobs = Blobs::default();
        let root = blobs.image("linux/arm64", false);
        blobs.check(&root, "linux/amd64", Ok("?"));
    }

    #[test]
    fn indexes_do_not_multiply() {
        let mut blobs = Blobs::default();
        let image = blobs.image("linux/amd64", true);
        let inner = blobs.index(vec![image.clone(); 400]);
        let root = blobs.index(vec![inner.clone(); 300]);
        let error = "more than 100000 images in an index";
        blobs.check(&root, "linux/amd64", Err(error));
        let root = blobs.index(vec![inner; 200]);
        blobs.check(&root, "linux/amd64", Ok("linux/amd64"));
        let silent = blobs.image("linux/amd64", false);
        let root = blobs.index(vec![silent; MAX_ASKED + 1]);
        let error = "more than 64 images without a platform in an index";
        blobs.check(&root, "linux/amd64", Err(error));
    }

    #[test]
    fn indexes_nest_once() {
        let mut blobs = Blobs::default();
        let image = blobs.image("linux/amd64", false);
        let mut inner = blobs.index(vec![image]);
        inner.platform = Some(Platform::new("linux", "arm64"));
        let root = blobs.index(vec![inner]);
        blobs.check(&root, "linux/arm64", Ok("linux/arm64"));
        let deeper = blobs.index(vec![root]);
        let error = format!("the image index {} is nested too deeply", {
            let mut inner = blobs.image("linux/amd64", false);
            inner = blobs.index(vec![inner]);
            inner.digest
        });
        blobs.check(&deeper, "linux/arm64", Err(&error));
    }
}
