//! Users and groups by the files of a root file system.
//!
//! Only `/etc/passwd` and `/etc/group` of the image count; the host's are never read.

use crate::error::StepError;

/// The passwd and group files of a root file system; empty if they are missing.
#[derive(Debug, Default, Clone)]
pub(crate) struct Accounts {
    /// `/etc/passwd`
    pub(crate) passwd: Vec<u8>,
    /// `/etc/group`
    pub(crate) group: Vec<u8>,
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// The home directory of its passwd entry, if it has one.
    pub(crate) home: Option<String>,
}

/// Resolves the `USER` of a `RUN`: `user`, `user:group`, by name or number.
///
/// Numbers need no entry. A group that is given stands alone; otherwise the groups of the user's
/// entries apply, and a number without an entry has group 0.
///
/// # Errors
/// [`StepError::UnknownUser`] and [`StepError::UnknownGroup`] for names without an entry.
pub(crate) fn resolve(user: &str, accounts: &Accounts) -> Result<Identity, StepError> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let number = if name.is_empty() {
        Some(0)
    } else {
        name.parse::<u32>().ok()
    };
    let entry = records(&accounts.passwd, 7).find(|fields| match number {
        Some(uid) => field(fields, 2).and_then(|text| text.parse().ok()) == Some(uid),
        None => field(fields, 0) == Some(name),
    });
    let mut identity = match (&entry, number) {
        (Some(fields), _) => Identity {
            uid: parse_id(fields, 2).or(number).unwrap_or(0),
            gid: parse_id(fields, 3).unwrap_or(0),
            groups: Vec::new(),
            home: field(fields, 5)
                .filter(|home| !home.is_empty())
                .map(str::to_owned),
        },
        (None, Some(uid)) => Identity {
            uid,
            ..Identity::default()
        },
        (None, None) => {
            return Err(StepError::UnknownUser {
                user: name.to_owned(),
            });
        }
    };
    if let Some(group) = group {
        identity.gid = group_id(group, accounts)?;
    } else if let Some(login) = entry.as_ref().and_then(|fields| field(fields, 0)) {
        identity.groups = memberships(login, accounts);
    }
    // The primary group is a supplementary one as well: a process that changes the former does
    // not lose what the group is denied.
    identity.groups.retain(|group| *group != identity.gid);
    identity.groups.insert(0, identity.gid);
    Ok(identity)
}

fn group_id(group: &str, accounts: &Accounts) -> Result<u32, StepError> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    records(&accounts.group, 4)
        .find(|fields| field(fields, 0) == Some(group))
        .and_then(|fields| parse_id(&fields, 2))
        .ok_or_else(|| StepError::UnknownGroup {
            group: group.to_owned(),
        })
}

/// Groups that list `login` as a member, in the order of the file.
fn memberships(login: &str, accounts: &Accounts) -> Vec<u32> {
    let mut groups = Vec::new();
    for fields in records(&accounts.group, 4) {
        let is_member =
            field(&fields, 3).is_some_and(|list| list.split(',').any(|name| name == login));
        if let Some(gid) = parse_id(&fields, 2).filter(|gid| is_member && !groups.contains(gid)) {
            groups.push(gid);
        }
    }
    groups
}

/// The colon-separated records of a file; comments and lines that are no UTF-8 are left out.
fn records(file: &[u8], n_fields: usize) -> impl Iterator<Item = Vec<&str>> {
    file.split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(move |line| line.splitn(n_fields, ':').collect())
}

fn field<'a>(fields: &[&'a str], index: usize) -> Option<&'a str> {
    fields.get(index).copied()
}

fn parse_id(fields: &[&str], index: usize) -> Option<u32> {
    field(fields, index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(user: &str, expected: Result<(u32, u32, &[u32]), &str>) {
        let accounts = Accounts {
            passwd:
                b"root:x:0:0:root:/root:/bin/sh\n# c\napp:x:1000:100:App:/home/app:/bin/sh\nbad\n"
                    .to_vec(),
            group: b"root:x:0:root\nusers:x:100:\nwheel:x:10:root,app\naudio:x:29:app\n".to_vec(),
        };
        match (resolve(user, &accounts), expected) {
            (Ok(found), Ok((uid, gid, groups))) => {
                assert_eq!(
                    (found.uid, found.gid, &found.groups[..]),
                    (uid, gid, groups),
                    "{user}"
                );
            }
            (Err(error), Err(text)) => assert_eq!(error.to_string(), text),
            (found, expected) => panic!("{user}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn user_forms() {
        check("", Ok((0, 0, &[0, 10])));
        check("root", Ok((0, 0, &[0, 10])));
        check("app", Ok((1000, 100, &[100, 10, 29])));
        check("1000", Ok((1000, 100, &[100, 10, 29])));
        check("app:wheel", Ok((1000, 10, &[10])));
        check("app:7", Ok((1000, 7, &[7])));
        check("1234", Ok((1234, 0, &[0])));
        check("1234:1234", Ok((1234, 1234, &[1234])));
        check(
            "nobody",
            Err("unable to find user nobody: no matching entries in passwd file"),
        );
        check(
            "app:nope",
            Err("unable to find group nope: no matching entries in group file"),
        );
    }
}
