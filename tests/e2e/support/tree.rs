//! The file tree that an image's layers add up to, and how two trees differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;

use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// The kinds of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Dir,
    File {
        size: u64,
        sha256: String,
        text: Option<String>,
    },
    Symlink(String),
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// One entry of a layer as it stands in its tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path without `./` in front and `/` behind; empty for the root.
    pub(crate) path: String,
    /// The node, or what a hard link leads to.
    pub(crate) what: What,
}

/// What a layer's entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Node(Node),
    Link(String),
}

/// Path to node; paths as in [`Entry`].
pub(crate) type Tree = BTreeMap<String, Node>;

/// Texts longer than this are known by their digest only.
const TEXT_LIMIT: u64 = 64 << 10;

/// Reads a layer's uncompressed tar.
pub(crate) fn read_layer(tar: impl Read) -> Vec<Entry> {
    let mut entries = Vec::new();
    for entry in Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = clean(&String::from_utf8_lossy(&entry.path_bytes()));
        let link =
            || String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
        let what = match entry.header().entry_type() {
            EntryType::XGlobalHeader => continue,
            EntryType::Link => What::Link(clean(&link())),
            kind => {
                let target = link();
                What::Node(read_node(&mut entry, kind, target))
            }
        };
        entries.push(Entry { path, what });
    }
    entries
}

fn read_node<R: Read>(entry: &mut tar::Entry<'_, R>, kind: EntryType, target: String) -> Node {
    let mut xattrs = BTreeMap::new();
    if let Some(records) = entry.pax_extensions().unwrap() {
        for record in records {
            let record = record.unwrap();
            if let Some(name) = record.key().unwrap().strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), record.value_bytes().to_vec());
            }
        }
    }
    let header = entry.header();
    let device = |block| Kind::Device {
        block,
        major: header.device_major().unwrap().unwrap_or_default(),
        minor: header.device_minor().unwrap().unwrap_or_default(),
    };
    let mut node = Node {
        kind: match kind {
            EntryType::Directory => Kind::Dir,
            EntryType::Symlink => Kind::Symlink(target),
            EntryType::Char => device(false),
            EntryType::Block => device(true),
            EntryType::Fifo => Kind::Fifo,
            _ => Kind::File {
                size: entry.size(),
                sha256: String::new(),
                text: None,
            },
        },
        mode: header.mode().unwrap() & 0o7777,
        uid: header.uid().unwrap(),
        gid: header.gid().unwrap(),
        mtime: header.mtime().unwrap(),
        xattrs,
    };
    if let Kind::File { size, sha256, text } = &mut node.kind {
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, *size);
        *sha256 = hex(&Sha256::digest(&bytes));
        if *size <= TEXT_LIMIT {
            *text = String::from_utf8(bytes).ok();
        }
    }
    node
}

/// Applies layers to an empty tree, whiteouts included.
pub(crate) fn flatten(layers: &[Vec<Entry>]) -> Tree {
    let mut tree = Tree::new();
    for layer in layers {
        // Whiteouts speak of the layers below, wherever they stand in theirs.
        for entry in layer {
            let (dir, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
            let inside = if dir.is_empty() {
                String::new()
            } else {
                format!("{dir}/")
            };
            if name == ".wh..wh..opq" {
                tree.retain(|path, _| !path.starts_with(&inside) || path.is_empty());
            } else if let Some(name) = name.strip_prefix(".wh.") {
                remove(&mut tree, &format!("{inside}{name}"));
            }
        }
        for entry in layer {
            if entry
                .path
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .starts_with(".wh.")
            {
                continue;
            }
            let node = match &entry.what {
                What::Node(node) => node.clone(),
                What::Link(target) => tree
                    .get(target)
                    .unwrap_or_else(|| {
                        panic!("{} links to {target}, which is not there", entry.path)
                    })
                    .clone(),
            };
            if node.kind != Kind::Dir {
                remove(&mut tree, &entry.path);
            }
            tree.insert(entry.path.clone(), node);
        }
    }
    tree.remove("");
    tree
}

fn remove(tree: &mut Tree, path: &str) {
    let inside = format!("{path}/");
    tree.retain(|at, _| at != path && !at.starts_with(&inside));
}

/// Says how `ours` differs from `theirs`, one line a difference, without the paths that builders
/// leave behind or that hold times. Times and directory sizes are not compared.
pub(crate) fn differences(ours: &Tree, theirs: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for path in ours
        .keys()
        .chain(theirs.keys().filter(|path| !ours.contains_key(*path)))
    {
        if is_volatile(path) {
            continue;
        }
        match (ours.get(path), theirs.get(path)) {
            (Some(our), None) => lines.push(format!("only ours: {path} {}", our.summary())),
            (None, Some(their)) => lines.push(format!("only theirs: {path} {}", their.summary())),
            (Some(our), Some(their)) if our.summary() != their.summary() => {
                lines.push(format!(
                    "{path}: ours {}, theirs {}",
                    our.summary(),
                    their.summary()
                ));
            }
            _ => {}
        }
    }
    lines
}

/// Paths whose content is the runtime's business, or changes from run to run.
fn is_volatile(path: &str) -> bool {
    const EXACT: &[&str] = &[
        "dev",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
        "proc",
        "run",
        "run/lock",
        "sys",
        "var/cache/ldconfig/aux-cache",
        "var/lib/dpkg/status-old",
        "var/log/alternatives.log",
        "var/log/bootstrap.log",
        "var/log/dpkg.log",
        "etc/shadow",
        "etc/shadow-",
    ];
    const BELOW: &[&str] = &[
        "dev/",
        "proc/",
        "sys/",
        "run/",
        "var/log/apt/",
        "var/cache/apt/",
    ];
    EXACT.contains(&path) || BELOW.iter().any(|dir| path.starts_with(dir))
}

impl Node {
    /// One line without times. A symlink's own mode means nothing.
    pub(crate) fn summary(&self) -> String {
        let mut line = match &self.kind {
            Kind::Dir => format!("dir {:04o}", self.mode),
            Kind::File { size, sha256, .. } => {
                format!("file {:04o} {size} {}", self.mode, &sha256[..12])
            }
            Kind::Symlink(target) => format!("symlink -> {target}"),
            Kind::Device {
                block,
                major,
                minor,
            } => {
                let kind = if *block { "block" } else { "char" };
                format!("{kind} {:04o} {major}:{minor}", self.mode)
            }
            Kind::Fifo => format!("fifo {:04o}", self.mode),
        };
        write!(line, " {}:{}", self.uid, self.gid).unwrap();
        for (name, value) in &self.xattrs {
            write!(line, " {name}={}", hex(value)).unwrap();
        }
        line
    }

    /// The text of a small file.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        match &self.kind {
            Kind::File {
                text: Some(text), ..
            } => text,
            other => panic!("not a small text file: {other:?}"),
        }
    }
}

impl Entry {
    /// One line for a listing.
    pub(crate) fn summary(&self) -> String {
        match &self.what {
            What::Node(node) => format!("{} {}", self.path, node.summary()),
            What::Link(target) => format!("{} link to {target}", self.path),
        }
    }
}

/// Drops empty and `.` components.
fn clean(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    parts.join("/")
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
