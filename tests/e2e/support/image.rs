//! Images as the program writes them: OCI layouts and archives, read without any of its crates.

use std::io::{Cursor, Read as _};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tree::{self, Entry, Node, Tree};

/// An image for one platform.
#[derive(Debug)]
pub(crate) struct Image {
    /// Digest of its manifest.
    pub(crate) digest: String,
    /// Digest of its config: the image ID.
    pub(crate) id: String,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
    /// The layers' entries, base first.
    pub(crate) layers: Vec<Vec<Entry>>,
    /// What the layers add up to.
    pub(crate) tree: Tree,
}

impl Image {
    /// Reads the only image of an OCI archive.
    #[track_caller]
    pub(crate) fn from_archive(tar: &Path) -> Self {
        let mut all = Self::all_from_archive(tar);
        assert_eq!(all.len(), 1, "{} holds several images", tar.display());
        all.remove(0)
    }

    /// Reads all images of an OCI archive, in the order of its index.
    #[track_caller]
    pub(crate) fn all_from_archive(tar: &Path) -> Vec<Self> {
        let dir = tempfile::tempdir().unwrap();
        let file = fs_err::File::open(tar).unwrap();
        tar::Archive::new(file).unpack(dir.path()).unwrap();
        Self::all_from_layout(dir.path())
    }

    /// Reads the images of a Docker archive (`manifest.json`) with the names each has.
    #[track_caller]
    pub(crate) fn from_docker_archive(tar: &Path) -> Vec<(Self, Vec<String>)> {
        let dir = tempfile::tempdir().unwrap();
        tar::Archive::new(fs_err::File::open(tar).unwrap())
            .unpack(dir.path())
            .unwrap();
        list(&json_file(&dir.path().join("manifest.json")))
            .iter()
            .map(|entry| {
                let read =
                    |name: &Value| fs_err::read(dir.path().join(name.as_str().unwrap())).unwrap();
                let config = read(&entry["Config"]);
                let layers = list(&entry["Layers"])
                    .iter()
                    .map(|layer| plain(read(layer)))
                    .collect();
                let names = list(&entry["RepoTags"])
                    .iter()
                    .map(|name| name.as_str().unwrap().to_owned())
                    .collect();
                let image = Self::of_parts(&config, layers, String::new(), Value::Null);
                (image, names)
            })
            .collect()
    }

    /// Reads all images of an OCI layout, in the order of its index. An index in it is followed.
    #[track_caller]
    pub(crate) fn all_from_layout(dir: &Path) -> Vec<Self> {
        let layout = json_file(&dir.join("oci-layout"));
        assert_eq!(layout["imageLayoutVersion"], "1.0.0");
        let mut images = Vec::new();
        follow(dir, &json_file(&dir.join("index.json")), &mut images);
        // An image with several names is listed once a name.
        images.dedup_by(|next, first| next.digest == first.digest);
        images
    }

    fn from_layout(dir: &Path, descriptor: &Value) -> Self {
        let manifest: Value = serde_json::from_slice(&blob(dir, descriptor)).unwrap();
        let config = blob(dir, &manifest["config"]);
        let layers = list(&manifest["layers"])
            .iter()
            .map(|layer| decompress(blob(dir, layer), layer["mediaType"].as_str().unwrap()))
            .collect();
        let digest = descriptor["digest"].as_str().unwrap().to_owned();
        Self::of_parts(&config, layers, digest, manifest)
    }

    fn of_parts(config: &[u8], layers: Vec<Vec<u8>>, digest: String, manifest: Value) -> Self {
        let id = sha256(config);
        let config: Value = serde_json::from_slice(config).unwrap();
        let diff_ids: Vec<Value> = layers.iter().map(|tar| json!(sha256(tar))).collect();
        assert_eq!(
            config["rootfs"]["diff_ids"],
            json!(diff_ids),
            "diff IDs are the tars' digests"
        );
        let filled = list(&config["history"])
            .iter()
            .filter(|line| line["empty_layer"] != json!(true))
            .count();
        assert!(
            config["history"].is_null() || filled == layers.len(),
            "one line of history a layer: {}",
            config["history"]
        );
        let layers: Vec<Vec<Entry>> = layers
            .into_iter()
            .map(|tar| tree::read_layer(Cursor::new(tar)))
            .collect();
        Self {
            digest,
            id,
            tree: tree::flatten(&layers),
            manifest,
            config,
            layers,
        }
    }

    /// The node at a path without a leading slash.
    #[track_caller]
    pub(crate) fn node(&self, path: &str) -> &Node {
        self.tree
            .get(path)
            .unwrap_or_else(|| panic!("{path} is not in the image"))
    }

    /// The text of a small file.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> &str {
        self.node(path).text()
    }

    /// Tells whether there is something at a path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.tree.contains_key(path)
    }

    /// A field of the config's `config`, `Null` if it is missing.
    pub(crate) fn setting(&self, name: &str) -> &Value {
        &self.config["config"][name]
    }

    /// The `created_by` of every line of history.
    pub(crate) fn created_by(&self) -> Vec<String> {
        list(&self.config["history"])
            .iter()
            .map(|line| line["created_by"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

fn follow(dir: &Path, index: &Value, images: &mut Vec<Image>) {
    for descriptor in list(&index["manifests"]) {
        if descriptor["mediaType"].as_str().unwrap().contains("index") {
            let nested: Value = serde_json::from_slice(&blob(dir, descriptor)).unwrap();
            follow(dir, &nested, images);
        } else {
            images.push(Image::from_layout(dir, descriptor));
        }
    }
}

/// Reads a blob and checks its digest and size.
fn blob(dir: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap();
    let bytes = fs_err::read(dir.join("blobs").join(digest.replace(':', "/"))).unwrap();
    assert_eq!(digest, sha256(&bytes), "a blob is what it is called");
    assert_eq!(descriptor["size"], json!(bytes.len()), "size of {digest}");
    bytes
}

/// A layer of a Docker archive may be compressed without saying so.
fn plain(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        decompress(bytes, "tar+gzip")
    } else {
        bytes
    }
}

fn decompress(bytes: Vec<u8>, media_type: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    if media_type.ends_with("gzip") {
        flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .read_to_end(&mut tar)
            .unwrap();
    } else if media_type.ends_with("zstd") {
        zstd::Decoder::new(bytes.as_slice())
            .unwrap()
            .read_to_end(&mut tar)
            .unwrap();
    } else {
        assert!(
            media_type.ends_with("tar"),
            "unknown media type {media_type}"
        );
        tar = bytes;
    }
    tar
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A digest as OCI writes it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", tree::hex(&Sha256::digest(bytes)))
}

/// This machine's architecture as images call it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Makes an OCI layout with one image, tagged `latest`, of one layer: a root file system tar.
pub(crate) fn write_layout(rootfs: &Path, dir: &Path) {
    let tar = fs_err::read(rootfs).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    let put = |bytes: &[u8], kind: &str| {
        let digest = sha256(bytes);
        let file = dir.join("blobs").join(digest.replace(':', "/"));
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, bytes).unwrap();
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest,
            "size": bytes.len(),
        })
    };
    let layer = put(&gzip.finish().unwrap(), "layer.v1.tar+gzip");
    let config = json!({
        "created": "2025-01-01T00:00:00Z",
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["sh"],
        },
        "rootfs": {"type": "layers", "diff_ids": [sha256(&tar)]},
        "history": [{"created": "2025-01-01T00:00:00Z", "created_by": "rootfs"}],
    });
    let config = put(&serde_json::to_vec(&config).unwrap(), "config.v1+json");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = put(&serde_json::to_vec(&manifest).unwrap(), "manifest.v1+json");
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs_err::write(dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    fs_err::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
