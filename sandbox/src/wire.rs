//! A [`Spec`] as bytes, on its way from the building process to the step's pid 1.
//!
//! Both ends are the same program, so there is no version. The reader still trusts nothing: every length is checked.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::spec::{
    BindSource, Mount, MountKind, Network, Resource, Rlimit, Root, Spec, TargetKind, Upper,
};

/// Returns the specification as bytes.
pub(crate) fn encode(spec: &Spec) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(4096));
    out.root(&spec.root);
    out.list(&spec.argv, |out, arg| out.bytes(arg.as_bytes()));
    out.list(&spec.env, |out, var| out.bytes(var.as_bytes()));
    out.path(&spec.cwd);
    out.u32(spec.uid);
    out.u32(spec.gid);
    out.list(&spec.groups, |out, group| out.u32(*group));
    out.bytes(spec.hostname.as_bytes());
    out.flag(spec.network == Network::None);
    out.bytes(&spec.hosts);
    out.bytes(&spec.resolv_conf);
    out.list(&spec.mounts, Writer::mount);
    out.list(&spec.rlimits, |out, limit| {
        out.bytes(limit.resource.name().as_bytes());
        out.u64(limit.soft);
        out.u64(limit.hard);
    });
    out.u64(spec.shm_size);
    out.u32(spec.max_tasks);
    out.flag(spec.fake_ownership);
    let journal: Vec<PathBuf> = spec.owner_journal.iter().cloned().collect();
    out.paths(&journal);
    out.flag(spec.privileged);
    out.0
}

/// Returns the specification that the bytes stand for, or `None` if they stand for none.
pub(crate) fn decode(bytes: &[u8]) -> Option<Spec> {
    let mut input = Reader(bytes);
    let spec = Spec {
        root: input.root()?,
        argv: input.list(Reader::os_string)?,
        env: input.list(Reader::os_string)?,
        cwd: input.path()?,
        uid: input.u32()?,
        gid: input.u32()?,
        groups: input.list(Reader::u32)?,
        hostname: String::from_utf8(input.bytes()?).ok()?,
        network: if input.flag()? {
            Network::None
        } else {
            Network::Host
        },
        hosts: input.bytes()?,
        resolv_conf: input.bytes()?,
        mounts: input.list(Reader::mount)?,
        rlimits: input.list(Reader::rlimit)?,
        shm_size: input.u64()?,
        max_tasks: input.u32()?,
        fake_ownership: input.flag()?,
        owner_journal: input.list(Reader::path)?.pop(),
        privileged: input.flag()?,
    };
    input.0.is_empty().then_some(spec)
}

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn path(&mut self, value: &Path) {
        self.bytes(value.as_os_str().as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.u64(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn paths(&mut self, paths: &[PathBuf]) {
        self.list(paths, |out, path| out.path(path));
    }

    fn root(&mut self, root: &Root) {
        match root {
            Root::Overlay {
                lowers,
                upper,
                work,
                userxattr,
            } => {
                self.u32(0);
                self.paths(lowers);
                self.path(upper);
                self.path(work);
                self.flag(*userxattr);
            }
            Root::Directory(path) => {
                self.u32(1);
                self.path(path);
            }
        }
    }

    fn mount(&mut self, mount: &Mount) {
        self.path(&mount.target);
        match &mount.kind {
            MountKind::Bind {
                source,
                target_kind,
                read_only,
            } => {
                self.u32(0);
                self.source(source);
                self.flag(*target_kind == TargetKind::Directory);
                self.flag(*read_only);
            }
            MountKind::Tmpfs { size, mode } => {
                self.u32(1);
                self.flag(size.is_some());
                self.u64(size.unwrap_or(0));
                self.u32(*mode);
            }
            MountKind::File {
                content,
                mode,
                uid,
                gid,
            } => {
                self.u32(2);
                self.bytes(content);
                self.u32(*mode);
                self.u32(*uid);
                self.u32(*gid);
            }
        }
    }

    fn source(&mut self, source: &BindSource) {
        match source {
            BindSource::Path(path) => {
                self.u32(0);
                self.path(path);
            }
            BindSource::Inside { root, path } => {
                self.u32(1);
                self.path(root);
                self.path(path);
            }
            BindSource::Stack {
                lowers,
                upper,
                userxattr,
                path,
            } => {
                self.u32(2);
                self.paths(lowers);
                self.flag(upper.is_some());
                if let Some(Upper { upper, work }) = upper {
                    self.path(upper);
                    self.path(work);
                }
                self.flag(*userxattr);
                self.path(path);
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.u64()?).ok()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head.to_vec())
    }

    fn os_string(&mut self) -> Option<OsString> {
        self.bytes().map(OsString::from_vec)
    }

    fn path(&mut self) -> Option<PathBuf> {
        self.os_string().map(PathBuf::from)
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        // Not reserved in advance: the number is only as good as the bytes behind it.
        let count = self.u64()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(each(self)?);
        }
        Some(items)
    }

    fn root(&mut self) -> Option<Root> {
        Some(match self.u32()? {
            0 => Root::Overlay {
                lowers: self.list(Reader::path)?,
                upper: self.path()?,
                work: self.path()?,
                userxattr: self.flag()?,
            },
            1 => Root::Directory(self.path()?),
            _ => return None,
        })
    }

    fn mount(&mut self) -> Option<Mount> {
        let target = self.path()?;
        let kind = match self.u32()? {
            0 => MountKind::Bind {
                source: self.source()?,
                target_kind: if self.flag()? {
                    TargetKind::Directory
                } else {
                    TargetKind::File
                },
                read_only: self.flag()?,
            },
            1 => {
                let (limited, size) = (self.flag()?, self.u64()?);
                MountKind::Tmpfs {
                    size: limited.then_some(size),
                    mode: self.u32()?,
                }
            }
            2 => MountKind::File {
                content: self.bytes()?,
                mode: self.u32()?,
                uid: self.u32()?,
                gid: self.u32()?,
            },
            _ => return None,
        };
        Some(Mount { target, kind })
    }

    fn source(&mut self) -> Option<BindSource> {
        Some(match self.u32()? {
            0 => BindSource::Path(self.path()?),
            1 => BindSource::Inside {
                root: self.path()?,
                path: self.path()?,
            },
            2 => {
                let lowers = self.list(Reader::path)?;
                let upper = if self.flag()? {
                    Some(Upper {
                        upper: self.path()?,
                        work: self.path()?,
                    })
                } else {
                    None
                };
                BindSource::Stack {
                    lowers,
                    upper,
                    userxattr: self.flag()?,
                    path: self.path()?,
                }
            }
            _ => return None,
        })
    }

    fn rlimit(&mut self) -> Option<Rlimit> {
        let name = String::from_utf8(self.bytes()?).ok()?;
        Some(Rlimit {
            resource: Resource::from_name(&name)?,
            soft: self.u64()?,
            hard: self.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Spec {
        let lowers = vec![PathBuf::from("/l/1"), PathBuf::from("/l/2")];
        let root = Root::Overlay {
            lowers: lowers.clone(),
            upper: PathBuf::from("/u"),
            work: PathBuf::from("/w"),
            userxattr: true,
        };
        let argv = vec![OsString::from("sh"), OsString::from_vec(vec![0xff, b'x'])];
        let mut spec = Spec::new(root, argv);
        spec.groups = vec![4, 27];
        spec.network = Network::None;
        spec.hosts = b"127.0.0.1 localhost".to_vec();
        spec.fake_ownership = true;
        spec.owner_journal = Some("/journal".into());
        spec.privileged = true;
        spec.rlimits = vec![Rlimit {
            resource: Resource::Core,
            soft: 0,
            hard: u64::MAX,
        }];
        let bind = |source| MountKind::Bind {
            source,
            target_kind: TargetKind::Directory,
            read_only: true,
        };
        let upper = Some(Upper {
            upper: PathBuf::from("/u2"),
            work: PathBuf::from("/w2"),
        });
        let inside = BindSource::Inside {
            root: PathBuf::from("/c"),
            path: PathBuf::from("a"),
        };
        let stack = BindSource::Stack {
            lowers,
            upper,
            userxattr: true,
            path: PathBuf::from("/bin"),
        };
        let file = MountKind::File {
            content: b"s".to_vec(),
            mode: 0o400,
            uid: 1,
            gid: 2,
        };
        for (number, kind) in [
            bind(BindSource::Path(PathBuf::from("/p"))),
            bind(inside),
            bind(stack),
            MountKind::Tmpfs {
                size: Some(1),
                mode: 0o700,
            },
            MountKind::Tmpfs {
                size: None,
                mode: 0o700,
            },
            file,
        ]
        .into_iter()
        .enumerate()
        {
            spec.mounts.push(Mount {
                target: PathBuf::from(format!("/m{number}")),
                kind,
            });
        }
        spec
    }

    #[test]
    fn what_is_written_is_read() {
        let plain = Spec::new(
            Root::Directory(PathBuf::from("/r")),
            vec![OsString::from("true")],
        );
        for spec in [full(), plain] {
            assert_eq!(decode(&encode(&spec)), Some(spec));
        }
    }

    #[test]
    fn damage_is_refused_and_never_panics() {
        let good = encode(&full());
        for end in 0..good.len() {
            assert_eq!(decode(&good[..end]), None, "cut at {end}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            drop(decode(&bad)); // any answer will do, as long as there is one
        }
        let mut longer = good;
        longer.push(0);
        assert_eq!(decode(&longer), None);
    }
}
