//! A registry in memory that can be pushed to, and what is pushed there.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard};

use rbuild_image::digest::Digest;
use rbuild_image::manifest::Descriptor;
use rbuild_image::media::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};
use rbuild_image::reference::Reference;
use rbuild_registry::{Bytes, Cause, Content};

use crate::image::noise;
use crate::server::{Answer, Seen};

/// What the registry has.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// By repository and digest.
    pub(crate) blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and tag or digest: media type and bytes.
    pub(crate) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    n_uploads: usize,
}

/// The registry; clones share what it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake {
    kept: Arc<Mutex<Kept>>,
    /// It keeps account of referrers.
    pub(crate) knows_subjects: bool,
}

impl Fake {
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// Takes a part of a blob without an answer, as when the connection breaks.
    pub(crate) fn take_part(&self, target: &str, bytes: &[u8]) {
        let id = target
            .rsplit('/')
            .next()
            .unwrap()
            .split('?')
            .next()
            .unwrap();
        self.kept().uploads.get_mut(id).unwrap().extend(bytes);
    }

    pub(crate) fn serve(&self, seen: &Seen) -> Answer {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let query: BTreeMap<&str, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, value.replace("%3A", ":").replace("%2F", "/")))
            .collect();
        let path = path.strip_prefix("/v2/").unwrap();
        if let Some((repository, reference)) = path.split_once("/manifests/") {
            return self.manifest(seen, repository, reference);
        }
        let (repository, rest) = path.split_once("/blobs/").unwrap();
        match rest.strip_prefix("uploads/") {
            Some("") => self.open(repository, &query),
            Some(id) => self.upload(seen, repository, id, &query),
            None => {
                let key = (repository.to_owned(), rest.to_owned());
                match self.kept().blobs.get(&key) {
                    Some(bytes) => Answer::new(200, bytes.clone()),
                    None => Answer::new(404, r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#),
                }
            }
        }
    }

    fn manifest(&self, seen: &Seen, repository: &str, reference: &str) -> Answer {
        let mut kept = self.kept();
        let key = |reference: &str| (repository.to_owned(), reference.to_owned());
        if seen.method != "PUT" {
            return match kept.manifests.get(&key(reference)) {
                None => Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
                Some((kind, bytes)) => Answer::new(200, bytes.clone())
                    .header("Content-Type", kind)
                    .header("Docker-Content-Digest", &Digest::of(bytes).to_string()),
            };
        }
        let json: serde_json::Value = serde_json::from_slice(&seen.bytes).unwrap();
        let parts = |name: &str| json[name].as_array().cloned().unwrap_or_default();
        let blobs = parts("layers").into_iter().chain([json["config"].clone()]);
        let blobs = blobs.filter(|blob| blob["digest"].is_string() && blob["urls"].is_null());
        let digest = |value: &serde_json::Value| value["digest"].as_str().unwrap().to_owned();
        let is_missing = blobs
            .into_iter()
            .any(|blob| !kept.blobs.contains_key(&key(&digest(&blob))))
            || parts("manifests")
                .iter()
                .any(|entry| !kept.manifests.contains_key(&key(&digest(entry))));
        if is_missing {
            return Answer::new(400, r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#);
        }
        let digest = Digest::of(&seen.bytes).to_string();
        let entry = (
            seen.header("content-type").unwrap().to_owned(),
            seen.bytes.clone(),
        );
        kept.manifests.insert(key(&digest), entry.clone());
        kept.manifests.insert(key(reference), entry);
        let answer = Answer::new(201, "").header("Docker-Content-Digest", &digest);
        match json["subject"]["digest"].as_str() {
            Some(subject) if self.knows_subjects => answer.header("OCI-Subject", subject),
            _ => answer,
        }
    }

    fn open(&self, repository: &str, query: &BTreeMap<&str, String>) -> Answer {
        let mut kept = self.kept();
        if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from"))
            && let Some(bytes) = kept.blobs.get(&(from.clone(), digest.clone())).cloned()
        {
            kept.blobs
                .insert((repository.to_owned(), digest.clone()), bytes);
            return Answer::new(201, "");
        }
        kept.n_uploads += 1;
        let id = format!("u{}", kept.n_uploads);
        kept.uploads.insert(id.clone(), Vec::new());
        let location = format!("/v2/{repository}/blobs/uploads/{id}?state=a%2Fb");
        Answer::new(202, "").header("Location", &location)
    }

    fn upload(
        &self,
        seen: &Seen,
        repository: &str,
        id: &str,
        query: &BTreeMap<&str, String>,
    ) -> Answer {
        let mut kept = self.kept();
        assert_eq!(
            query.get("state").map(String::as_str),
            Some("a/b"),
            "{seen:?}"
        );
        let Some(has) = kept.uploads.get_mut(id) else {
            return Answer::new(404, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
        };
        has.extend(&seen.bytes);
        let range = format!("0-{}", has.len().saturating_sub(1));
        match seen.method.as_str() {
            "PATCH" => Answer::new(202, "")
                .header("Location", &seen.target)
                .header("Range", &range),
            "GET" => Answer::new(204, "").header("Range", &range),
            "DELETE" => {
                kept.uploads.remove(id);
                Answer::new(204, "")
            }
            _ => {
                let bytes = kept.uploads.remove(id).unwrap();
                let digest = Digest::of(&bytes).to_string();
                if query.get("digest") != Some(&digest) {
                    return Answer::new(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
                }
                kept.blobs
                    .insert((repository.to_owned(), digest.clone()), bytes);
                Answer::new(201, "").header("Docker-Content-Digest", &digest)
            }
        }
    }
}

/// Content in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: BTreeMap<Digest, Vec<u8>>,
    pub(crate) sources: Vec<Reference>,
}

impl Content for Memory {
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Cause> {
        let bytes = self.bytes.get(&descriptor.digest);
        Ok(bytes.ok_or("no such document")?.clone())
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Bytes + '_>, Cause> {
        let bytes = self.bytes.get(&descriptor.digest);
        Ok(Box::new(Cursor::new(bytes.ok_or("no such blob")?)))
    }

    fn sources(&self, _descriptor: &Descriptor) -> Vec<Reference> {
        self.sources.clone()
    }
}

impl Memory {
    pub(crate) fn add(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        self.bytes.insert(descriptor.digest, bytes);
        descriptor
    }

    /// An image of one layer; `more` stands behind its layers.
    pub(crate) fn add_image(&mut self, layer: &[u8], more: &str) -> Descriptor {
        let layer = self.add(OCI_LAYER_GZIP, layer);
        let config = self.add(OCI_CONFIG, format!(r#"{{"rootfs":"{}"}}"#, layer.digest));
        let manifest = format!(
            r#"{{ "schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]{more}}}"#,
            json(&config),
            json(&layer)
        );
        self.add(OCI_MANIFEST, manifest)
    }

    pub(crate) fn add_index(&mut self, entries: &[Descriptor]) -> Descriptor {
        let entries: Vec<String> = entries.iter().map(json).collect();
        let index = format!(
            r#"{{"schemaVersion":2,  "mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
            entries.join(",")
        );
        self.add(OCI_INDEX, index)
    }
}

/// An image with a layer of so many bytes.
pub(crate) fn image(layer_bytes: usize) -> (Memory, Descriptor) {
    let mut memory = Memory::default();
    let root = memory.add_image(&noise(layer_bytes), "");
    (memory, root)
}

pub(crate) fn json(descriptor: &Descriptor) -> String {
    serde_json::to_string(descriptor).unwrap()
}
