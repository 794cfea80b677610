//! What a file is to be where it cannot be it: the owner, and the device that it stands for.

use std::fmt;
use std::io::Read;

/// The attribute in which steps keep what regular files and directories are to be.
pub const OWNER_ATTRIBUTE: &str = "user.rbuild.owner";

/// A device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// A block device, not a character device.
    pub is_block: bool,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
}

/// What is known of a file; `None` is what it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerRecord {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The device that the file, an empty one, stands for.
    pub device: Option<Device>,
}

impl OwnerRecord {
    /// The record of an owner.
    #[must_use]
    pub fn of(uid: u32, gid: u32) -> Self {
        Self {
            uid: Some(uid),
            gid: Some(gid),
            device: None,
        }
    }

    /// Reads the attribute's value; `None` if it is no record.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (owner, device) = match text.split_once(' ') {
            Some((owner, device)) => (owner, Some(Device::parse(device)?)),
            None => (text, None),
        };
        let (uid, gid) = owner.split_once(':')?;
        let id = |text: &str| match text {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        };
        Some(Self {
            uid: id(uid)?,
            gid: id(gid)?,
            device,
        })
    }

    /// The record after a change of the owner, `None` if there is none to write: what nothing is known about is root's.
    pub(crate) fn changed(
        before: Option<Self>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Option<Self> {
        match before {
            Some(before) => Some(Self {
                uid: uid.or(before.uid),
                gid: gid.or(before.gid),
                device: before.device,
            }),
            None if uid.unwrap_or(0) == 0 && gid.unwrap_or(0) == 0 => None,
            None => Some(Self {
                uid,
                gid,
                device: None,
            }),
        }
    }
}

impl Device {
    fn parse(text: &str) -> Option<Self> {
        let (kind, numbers) = text.split_once(' ')?;
        let is_block = match kind {
            "b" => true,
            "c" => false,
            _ => return None,
        };
        let (major, minor) = numbers.split_once(':')?;
        Some(Self {
            is_block,
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for OwnerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
        write!(f, "{}:{}", text(self.uid), text(self.gid))?;
        match self.device {
            Some(device) => {
                let kind = if device.is_block { 'b' } else { 'c' };
                write!(f, " {kind} {}:{}", device.major, device.minor)
            }
            None => Ok(()),
        }
    }
}

/// A file that has no attributes, such as a symbolic link, on the file system of a step's changes. The time when it was
/// made tells it from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpecialFile {
    /// Its inode's number.
    pub inode: u64,
    /// When it was made, in seconds and nanoseconds.
    pub born: (i64, u32),
}

/// A line of a step's journal ([`crate::Spec::owner_journal`]): what is known of files beside their attributes.
///
/// The first three are for the step to know of the layers below; the others it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalLine {
    /// Some file has a record.
    Attributes,
    /// Some directory gives its group, which is not root's, to what is made in it.
    GroupDirectories,
    /// A file without attributes does not belong to root.
    Below {
        /// Its path without a slash in front.
        path: Vec<u8>,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// From here on owners are recorded.
    Started,
    /// A file without attributes was given away.
    Changed {
        /// The file.
        file: SpecialFile,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

impl JournalLine {
    /// The line as it is written, with its end.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut line = match self {
            Self::Attributes => b"attributes".to_vec(),
            Self::GroupDirectories => b"group-directories".to_vec(),
            Self::Started => b"started".to_vec(),
            Self::Below { path, uid, gid } => {
                let mut line = format!("below {uid} {gid} ").into_bytes();
                line.extend_from_slice(path);
                line
            }
            Self::Changed { file, uid, gid } => {
                let (seconds, nanoseconds) = file.born;
                format!("changed {uid} {gid} {} {seconds} {nanoseconds}", file.inode).into_bytes()
            }
        };
        // Paths may have line feeds, but never this.
        line.push(0);
        line
    }

    /// Reads a journal; what is no line of one is left out.
    #[must_use]
    pub fn read(journal: &mut impl Read) -> Vec<Self> {
        let mut bytes = Vec::new();
        if journal.read_to_end(&mut bytes).is_err() {
            return Vec::new();
        }
        let lines = bytes.split(|byte| *byte == 0);
        lines.filter_map(Self::parse).collect()
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let number =
            |word: Option<&[u8]>| -> Option<u32> { std::str::from_utf8(word?).ok()?.parse().ok() };
        match words.next()? {
            b"attributes" => Some(Self::Attributes),
            b"group-directories" => Some(Self::GroupDirectories),
            b"started" => Some(Self::Started),
            b"below" => Some(Self::Below {
                uid: number(words.next())?,
                gid: number(words.next())?,
                path: words.next()?.to_vec(),
            }),
            b"changed" => {
                let (uid, gid) = (number(words.next())?, number(words.next())?);
                let mut rest = std::str::from_utf8(words.next()?).ok()?.split(' ');
                let inode = rest.next()?.parse().ok()?;
                let born = (rest.next()?.parse().ok()?, rest.next()?.parse().ok()?);
                let file = SpecialFile { inode, born };
                Some(Self::Changed { file, uid, gid })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_and_read() {
        for text in [
            "1:2",
            ":5",
            "7:",
            "0:0",
            "4294967294:0",
            ":",
            "1:2 c 1:3",
            ": b 4095:1048575",
        ] {
            assert_eq!(
                OwnerRecord::parse(text.as_bytes()).unwrap().to_string(),
                text
            );
        }
        for bad in [
            "",
            "1",
            "1:2:3",
            "a:1",
            "-1:1",
            "4294967296:0",
            "1:1 d 1:1",
            "1:1 c 1",
        ] {
            assert_eq!(OwnerRecord::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn changes_add_up() {
        let changed = |before: Option<&str>, uid, gid| {
            let before = before.map(|text| OwnerRecord::parse(text.as_bytes()).unwrap());
            Some(OwnerRecord::changed(before, uid, gid)?.to_string())
        };
        assert_eq!(changed(None, Some(1), Some(2)), Some("1:2".into()));
        assert_eq!(changed(None, None, Some(2)), Some(":2".into()));
        assert_eq!(changed(None, Some(0), Some(2)), Some("0:2".into()));
        assert_eq!(changed(None, Some(0), Some(0)), None);
        assert_eq!(changed(None, Some(0), None), None);
        assert_eq!(changed(Some("1:2"), Some(0), Some(0)), Some("0:0".into()));
        assert_eq!(changed(Some("1:2"), Some(3), None), Some("3:2".into()));
        let device = changed(Some("1:2 c 1:3"), Some(3), None);
        assert_eq!(device, Some("3:2 c 1:3".into()));
    }

    #[test]
    fn journals_are_written_and_read() {
        let lines = vec![
            JournalLine::Attributes,
            JournalLine::GroupDirectories,
            JournalLine::Below {
                path: b"a b/\nc\xff".to_vec(),
                uid: 1,
                gid: 2,
            },
            JournalLine::Started,
            JournalLine::Changed {
                file: SpecialFile {
                    inode: u64::MAX,
                    born: (-5, 999_999_999),
                },
                uid: 3,
                gid: 4,
            },
        ];
        let mut bytes: Vec<u8> = lines.iter().flat_map(JournalLine::to_bytes).collect();
        bytes.extend_from_slice(b"nonsense\0changed 1 2 3\0below 1\0changed 1");
        assert_eq!(JournalLine::read(&mut bytes.as_slice()), lines);
    }
}
