//! `--chown`: names and numbers to owner and group.

use super::error::{FilesError, quoted};

/// Owner and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Where names are looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Accounts<'a> {
    /// The parent's `/etc/passwd` and `/etc/group`; empty if they are missing.
    Files { passwd: &'a [u8], group: &'a [u8] },
    /// Nowhere: `--link` does not look at the parent. Only `root` has a number of its own.
    Nowhere,
}

/// Tells whether the parent's files are needed to resolve a `--chown` value.
pub(crate) fn needs_accounts(value: &str) -> bool {
    let (user, group) = split(value);
    [Some(user), group]
        .into_iter()
        .flatten()
        .any(|name| !name.is_empty() && !is_number(name))
}

/// Resolves `user`, `user:group` or `:group`.
///
/// A number alone is also the group; a name alone brings the group of its passwd entry. A name
/// without an entry is 0, as in BuildKit.
///
/// # Errors
/// [`FilesError::BadOwner`] for a number beyond 4294967294, or a name with [`Accounts::Nowhere`].
pub(crate) fn resolve(value: &str, accounts: Accounts<'_>) -> Result<Owner, FilesError> {
    let bad = |reason| FilesError::BadOwner {
        value: quoted(value.as_bytes()),
        reason,
    };
    let (user, group) = split(value);
    let number = |text: &str| -> Result<Option<u32>, FilesError> {
        if !is_number(text) {
            return Ok(None);
        }
        // The highest number means "unchanged" to the kernel.
        match text.parse() {
            Ok(u32::MAX) | Err(_) => Err(bad("the number is too large")),
            Ok(number) => Ok(Some(number)),
        }
    };
    let (passwd, groups) = match accounts {
        Accounts::Files { passwd, group } => (passwd, group),
        Accounts::Nowhere => {
            let is_known = |name: &str| name.is_empty() || name == "root" || is_number(name);
            if !is_known(user) || !group.is_none_or(is_known) {
                return Err(bad("--link copies know only numbers and root"));
            }
            (&[][..], &[][..])
        }
    };
    let mut owner = Owner::default();
    if let Some(uid) = number(user)? {
        owner = Owner { uid, gid: uid };
    } else if let Some(fields) = entry(passwd, user) {
        owner.uid = id(&fields, 2);
        owner.gid = id(&fields, 3);
    }
    match group {
        Some(group) if !group.is_empty() => {
            owner.gid = match number(group)? {
                Some(gid) => gid,
                None => entry(groups, group).map_or(0, |fields| id(&fields, 2)),
            };
        }
        _ => {}
    }
    Ok(owner)
}

fn split(value: &str) -> (&str, Option<&str>) {
    match value.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (value, None),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the fields of the first record that begins with `name`.
fn entry<'a>(file: &'a [u8], name: &str) -> Option<Vec<&'a [u8]>> {
    if name.is_empty() {
        return None;
    }
    file.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .map(|line| line.split(|byte| *byte == b':').collect::<Vec<_>>())
        .find(|fields| fields.len() > 2 && fields[0] == name.as_bytes())
}

fn id(fields: &[&[u8]], at: usize) -> u32 {
    fields
        .get(at)
        .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        .filter(|id| *id != u32::MAX)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0::/root:/bin/sh\n#c\nbad\napp:x:1000:100::/:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nusers:x:100:\nwheel:x:10:app\n";

    #[test]
    fn owners() {
        let files = Accounts::Files {
            passwd: PASSWD,
            group: GROUP,
        };
        for (value, expected) in [
            ("1000", (1000, 1000)),
            ("1000:5", (1000, 5)),
            (":5", (0, 5)),
            ("5:", (5, 5)),
            ("app", (1000, 100)),
            ("app:wheel", (1000, 10)),
            ("app:7", (1000, 7)),
            ("7:wheel", (7, 10)),
            (":wheel", (0, 10)),
            ("root", (0, 0)),
            ("nobody", (0, 0)),
            ("app:nobody", (1000, 0)),
            ("", (0, 0)),
            (":", (0, 0)),
        ] {
            let owner = resolve(value, files).unwrap();
            assert_eq!((owner.uid, owner.gid), expected, "{value}");
        }
        assert!(resolve("4294967296", files).is_err());
        assert!(resolve("0:4294967295", files).is_err());
    }

    #[test]
    fn a_linked_copy_knows_only_numbers() {
        assert_eq!(
            resolve("3:4", Accounts::Nowhere).unwrap(),
            Owner { uid: 3, gid: 4 }
        );
        assert_eq!(
            resolve("root:root", Accounts::Nowhere).unwrap(),
            Owner::default()
        );
        assert!(resolve("app", Accounts::Nowhere).is_err());
        assert!(resolve("0:wheel", Accounts::Nowhere).is_err());
        assert!(needs_accounts("app") && needs_accounts("1:wheel") && !needs_accounts("1:2"));
    }
}
