//! The owner that a file is to have where it cannot have it: the value of an extended attribute.

use std::fmt;

/// The attribute in which steps with [`crate::Spec::fake_ownership`] record owners, on regular files and directories.
pub const OWNER_ATTRIBUTE: &str = "user.rbuild.owner";

/// What a step asked for; `None` is what the file had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerRecord {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

impl OwnerRecord {
    /// Reads the attribute's value; `None` if it is no record.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (uid, gid) = text.split_once(':')?;
        let id = |text: &str| match text {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        };
        Some(Self {
            uid: id(uid)?,
            gid: id(gid)?,
        })
    }

    /// The record after a change, `None` if there is none to write.
    ///
    /// Programs see every file as root's and give that owner to what they write in its place. So a change to root of
    /// a file that nothing is known about says nothing.
    pub(crate) fn changed(
        before: Option<Self>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Option<Self> {
        match before {
            Some(before) => Some(Self {
                uid: uid.or(before.uid),
                gid: gid.or(before.gid),
            }),
            None if uid.unwrap_or(0) == 0 && gid.unwrap_or(0) == 0 => None,
            None => Some(Self { uid, gid }),
        }
    }
}

impl fmt::Display for OwnerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
        write!(f, "{}:{}", text(self.uid), text(self.gid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_and_read() {
        for text in ["1:2", ":5", "7:", "0:0", "4294967294:0", ":"] {
            assert_eq!(
                OwnerRecord::parse(text.as_bytes()).unwrap().to_string(),
                text
            );
        }
        for bad in ["", "1", "1:2:3", "a:1", "-1:1", "4294967296:0"] {
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
    }
}
