//! Visible files that an image can do without, or that deserve a look: only what is certain from
//! where they are.

use std::collections::BTreeMap;

use crate::layer::entry::{Entry, EntryKind};

use super::{Tally, size_of};

/// What kind of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HintKind {
    /// Package lists and downloaded packages of apt.
    Apt,
    /// Downloaded package data of apk.
    Apk,
    /// Downloaded package data of dnf and yum.
    Dnf,
    /// Downloads of pip.
    Pip,
    /// Downloads of npm.
    Npm,
    /// Downloads of Yarn.
    Yarn,
    /// Downloads of Composer.
    Composer,
    /// What `go build` keeps for the next time.
    GoBuild,
    /// Downloads of cargo.
    Cargo,
    /// The history of a git repository.
    Git,
    /// Programs that run as somebody else.
    SetId,
}

/// Files of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint<'a> {
    /// Which.
    pub kind: HintKind,
    /// The directory that they are in; for [`HintKind::SetId`] the file.
    pub path: &'a [u8],
    /// How many, and their bytes.
    pub files: Tally,
}

/// Directories of caches, from the root.
const ROOTED: &[(&[u8], HintKind)] = &[
    (b"var/lib/apt/lists", HintKind::Apt),
    (b"var/cache/apt", HintKind::Apt),
    (b"var/cache/apk", HintKind::Apk),
    (b"etc/apk/cache", HintKind::Apk),
    (b"var/cache/dnf", HintKind::Dnf),
    (b"var/cache/libdnf5", HintKind::Dnf),
    (b"var/cache/yum", HintKind::Dnf),
    (b"usr/local/share/.cache/yarn", HintKind::Yarn),
    (b"usr/local/cargo/registry", HintKind::Cargo),
];

/// Directories of caches, from a home.
const OF_A_HOME: &[(&[u8], HintKind)] = &[
    (b".cache/pip", HintKind::Pip),
    (b".npm/_cacache", HintKind::Npm),
    (b".cache/yarn", HintKind::Yarn),
    (b".cache/composer", HintKind::Composer),
    (b".composer/cache", HintKind::Composer),
    (b".cache/go-build", HintKind::GoBuild),
    (b".cargo/registry", HintKind::Cargo),
];

/// Files that package managers leave in an empty cache.
const HOLLOW: &[&[u8]] = &[b"lock", b".gitkeep"];

#[derive(Debug, Default)]
pub(super) struct HintPass<'a> {
    found: BTreeMap<(HintKind, &'a [u8]), Tally>,
}

impl<'a> HintPass<'a> {
    /// Looks at a visible file with one of its names.
    pub(super) fn visit(&mut self, file: &Entry, path: &'a [u8]) {
        let is_regular = matches!(file.kind, EntryKind::File { .. });
        if is_regular && file.mode & 0o6000 != 0 {
            self.add(HintKind::SetId, path, file);
        }
        let directory = rooted(path)
            .or_else(|| of_a_home(path))
            .or_else(|| git(path));
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        if let Some((kind, directory)) = directory
            && is_regular
            && !HOLLOW.contains(&name)
        {
            self.add(kind, directory, file);
        }
    }

    fn add(&mut self, kind: HintKind, path: &'a [u8], file: &Entry) {
        let tally = self.found.entry((kind, path)).or_default();
        tally.files += 1;
        tally.bytes = tally.bytes.saturating_add(size_of(file));
    }

    pub(super) fn finish(self) -> Vec<Hint<'a>> {
        let found = self.found.into_iter();
        found
            .map(|((kind, path), files)| Hint { kind, path, files })
            .collect()
    }
}

fn rooted(path: &[u8]) -> Option<(HintKind, &[u8])> {
    below_one_of(path, 0, ROOTED)
}

fn of_a_home(path: &[u8]) -> Option<(HintKind, &[u8])> {
    let home = if path.starts_with(b"root/") {
        b"root/".len()
    } else {
        let name = path.strip_prefix(b"home/")?;
        let length = name.iter().position(|byte| *byte == b'/')?;
        b"home/".len() + length + 1
    };
    below_one_of(path, home, OF_A_HOME)
}

fn below_one_of<'a>(
    path: &'a [u8],
    start: usize,
    directories: &[(&[u8], HintKind)],
) -> Option<(HintKind, &'a [u8])> {
    let rest = &path[start..];
    let (directory, kind) = directories
        .iter()
        .find(|(directory, _)| crate::layer::path::is_below(rest, directory))?;
    Some((*kind, &path[..start + directory.len()]))
}

/// Objects and packs are what makes a folder of that name a repository.
fn git(path: &[u8]) -> Option<(HintKind, &[u8])> {
    const OBJECTS: &[u8] = b".git/objects/";
    let at = path
        .windows(OBJECTS.len())
        .position(|part| part == OBJECTS)?;
    let starts_name = at == 0 || path[at - 1] == b'/';
    starts_name.then(|| (HintKind::Git, &path[..at + b".git".len()]))
}
