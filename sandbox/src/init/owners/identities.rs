//! Who processes are where there is one user: what they were told when they changed it.
//!
//! Children inherit it and programs that are executed keep it, so it has to lie where the kernel does the same: in the
//! limit of file locks, which nothing has looked at since Linux 2.4. Its value is a number in a table.

use rustix::io::Errno;

use super::caller::Caller;
use super::records::Owner;
use crate::seccomp::Question;
use crate::status::ignore;
use crate::sys::notify::{self, Answer};

/// The limit that stands for the first identity of the table. Nobody asks for limits of this size.
const FIRST: u64 = 1 << 40;

/// The most groups that a process can have (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// `SECBIT_NO_SETUID_FIXUP` and `SECBIT_KEEP_CAPS`.
const KEEPING_BITS: u32 = 0b1_0100;

/// What stands in 16 bits for an id that does not fit.
const OVERFLOW: u32 = 65_534;

/// A user and the groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    uid: Ids,
    gid: Ids,
    groups: Vec<u32>,
    /// Whether root's rights are kept when root is given up, until the next program.
    keeps_rights: bool,
    /// Whether they were.
    has_kept_rights: bool,
}

/// The four ids that a process has of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    real: u32,
    effective: u32,
    saved: u32,
    /// For files.
    file: u32,
}

impl Ids {
    fn all(id: u32) -> Self {
        Self {
            real: id,
            effective: id,
            saved: id,
            file: id,
        }
    }

    fn has(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// `setuid` and `setgid`.
    fn set(&mut self, id: u32, is_root: bool) -> Result<(), Errno> {
        if is_root {
            *self = Self::all(id);
        } else if id == self.real || id == self.saved {
            self.effective = id;
            self.file = id;
        } else {
            return Err(Errno::PERM);
        }
        Ok(())
    }

    /// `setreuid` and `setregid`.
    fn set_two(
        &mut self,
        real: Option<u32>,
        effective: Option<u32>,
        is_root: bool,
    ) -> Result<(), Errno> {
        let before = *self;
        let is_real_allowed = real.is_none_or(|id| id == before.real || id == before.effective);
        let is_effective_allowed = effective.is_none_or(|id| before.has(id));
        if !(is_root || is_real_allowed && is_effective_allowed) {
            return Err(Errno::PERM);
        }
        self.real = real.unwrap_or(before.real);
        self.effective = effective.unwrap_or(before.effective);
        if real.is_some() || effective.is_some_and(|id| id != before.real) {
            self.saved = self.effective;
        }
        self.file = self.effective;
        Ok(())
    }

    /// `setresuid` and `setresgid`.
    fn set_three(&mut self, ids: [Option<u32>; 3], is_root: bool) -> Result<(), Errno> {
        let before = *self;
        if !is_root && !ids.iter().flatten().all(|id| before.has(*id)) {
            return Err(Errno::PERM);
        }
        self.real = ids[0].unwrap_or(before.real);
        self.effective = ids[1].unwrap_or(before.effective);
        self.saved = ids[2].unwrap_or(before.saved);
        self.file = self.effective;
        Ok(())
    }

    /// `setfsuid` and `setfsgid`, which never fail and return what was.
    fn set_file(&mut self, id: Option<u32>, is_root: bool) -> u32 {
        let before = self.file;
        if let Some(id) = id.filter(|id| is_root || *id == before || self.has(*id)) {
            self.file = id;
        }
        before
    }
}

impl Identity {
    pub(super) fn new(uid: u32, gid: u32, groups: &[u32]) -> Self {
        let mut groups = groups.to_vec();
        // As the kernel keeps them.
        groups.sort_unstable();
        Self {
            uid: Ids::all(uid),
            gid: Ids::all(gid),
            groups,
            keeps_rights: false,
            has_kept_rights: false,
        }
    }

    /// The user that a new file belongs to.
    pub(super) fn user(&self) -> u32 {
        self.uid.file
    }

    /// The group that a new file belongs to.
    pub(super) fn group(&self) -> u32 {
        self.gid.file
    }

    /// Whether nobody else is in it.
    pub(super) fn is_root(&self) -> bool {
        self.uid == Ids::all(0) && self.gid == Ids::all(0)
    }

    /// Whether it has root's rights.
    pub(super) fn may_all(&self) -> bool {
        self.uid.effective == 0 || self.has_kept_rights
    }

    /// What `PR_SET_KEEPCAPS` and its like say.
    pub(super) fn keep_rights(&mut self, question: &Question) {
        self.keeps_rights = match question.word(0).cast_signed() {
            libc::PR_SET_KEEPCAPS => question.word(1) != 0,
            _ => question.word(1) & KEEPING_BITS != 0,
        };
    }

    /// Whether a user who is not root may give a file of `owner`'s away.
    pub(super) fn may_give(&self, owner: &Owner, uid: Option<u32>, gid: Option<u32>) -> bool {
        let is_member = |group: u32| group == self.gid.file || self.groups.contains(&group);
        owner.uid == self.uid.file
            && uid.is_none_or(|uid| uid == owner.uid)
            && gid.is_none_or(|gid| gid == owner.gid || is_member(gid))
    }

    /// What every program begins with.
    pub(super) fn executes(&mut self) {
        for ids in [&mut self.uid, &mut self.gid] {
            ids.saved = ids.effective;
            ids.file = ids.effective;
        }
        self.keeps_rights = false;
        self.has_kept_rights = false;
    }

    /// What the set-id bits of a program say.
    pub(super) fn becomes(&mut self, mode: u32, owner: Owner) {
        if mode & 0o4000 != 0 {
            self.uid.effective = owner.uid;
        }
        if mode & 0o2010 == 0o2010 {
            self.gid.effective = owner.gid;
        }
        self.executes();
    }
}

/// The identities that there are in a step.
pub(super) struct Identities(Vec<Identity>);

impl Identities {
    /// `first` is everybody's who did not change it.
    pub(super) fn new(first: Identity) -> Self {
        Self(vec![first])
    }

    /// Returns a process's.
    pub(super) fn of(&self, pid: u32) -> &Identity {
        let number = notify::locks_limit(pid)
            .ok()
            .and_then(|limit| limit.rlim_cur.checked_sub(FIRST))
            .and_then(|number| usize::try_from(number).ok());
        let known = number.and_then(|number| self.0.get(number));
        known.unwrap_or(&self.0[0])
    }

    /// Gives a process another one.
    pub(super) fn set(&mut self, pid: u32, identity: Identity) {
        let known = self.0.iter().position(|known| *known == identity);
        let number = known.unwrap_or_else(|| {
            self.0.push(identity);
            self.0.len() - 1
        });
        // Fails for a process that is gone.
        ignore(notify::locks_limit(pid).and_then(|mut limit| {
            limit.rlim_cur = FIRST + number as u64;
            notify::set_locks_limit(pid, limit)
        }));
    }

    /// Answers a call that asks who the caller is, or changes it.
    pub(super) fn answer(
        &mut self,
        caller: &Caller<'_>,
        question: &Question,
    ) -> Result<Answer, Errno> {
        let before = self.of(caller.pid).clone();
        if !caller.is_waiting() {
            return Ok(Answer::Value(0));
        }
        let shown = |id: u32| match question.has_short_ids {
            true if id > 0xffff => OVERFLOW,
            _ => id,
        };
        let value = |id: u32| Ok(Answer::Value(shown(id)));
        let three = |ids: Ids| {
            let bytes = |id| id_bytes(shown(id), question);
            for (place, id) in [ids.real, ids.effective, ids.saved].into_iter().enumerate() {
                caller.write(question.arguments[place], &bytes(id))?;
            }
            Ok(Answer::Value(0))
        };
        match question.name {
            "getuid" => return value(before.uid.real),
            "geteuid" => return value(before.uid.effective),
            "getgid" => return value(before.gid.real),
            "getegid" => return value(before.gid.effective),
            "getresuid" => return three(before.uid),
            "getresgid" => return three(before.gid),
            "getgroups" => {
                let groups: Vec<u32> = before.groups.iter().map(|id| shown(*id)).collect();
                return get_groups(caller, question, &groups);
            }
            _ => {}
        }
        let mut after = before.clone();
        let value = change(&mut after, caller, question)?;
        if !after.uid.has(0) {
            after.has_kept_rights |= before.uid.has(0) && before.keeps_rights;
        }
        if after != before {
            self.set(caller.pid, after);
        }
        Ok(Answer::Value(shown(value)))
    }
}

/// Does what a call asks for that changes who a process is; returns the call's value.
fn change(after: &mut Identity, caller: &Caller<'_>, question: &Question) -> Result<u32, Errno> {
    let is_root = after.may_all();
    let id = |place: usize| question.id(place);
    let one = || id(0).ok_or(Errno::INVAL);
    match question.name {
        "setuid" => after.uid.set(one()?, is_root)?,
        "setgid" => after.gid.set(one()?, is_root)?,
        "setreuid" => after.uid.set_two(id(0), id(1), is_root)?,
        "setregid" => after.gid.set_two(id(0), id(1), is_root)?,
        "setresuid" => after.uid.set_three([id(0), id(1), id(2)], is_root)?,
        "setresgid" => after.gid.set_three([id(0), id(1), id(2)], is_root)?,
        "setfsuid" => return Ok(after.uid.set_file(id(0), is_root)),
        "setfsgid" => return Ok(after.gid.set_file(id(0), is_root)),
        "setgroups" if is_root => after.groups = read_groups(caller, question)?,
        "setgroups" => return Err(Errno::PERM),
        _ => {}
    }
    Ok(0)
}

fn id_bytes(id: u32, question: &Question) -> Vec<u8> {
    let width = if question.has_short_ids { 2 } else { 4 };
    id.to_ne_bytes()[..width].to_vec()
}

fn get_groups(caller: &Caller<'_>, question: &Question, groups: &[u32]) -> Result<Answer, Errno> {
    let count = u32::try_from(groups.len()).unwrap_or(u32::MAX);
    match question.word(0).cast_signed() {
        0 => {}
        room if room < count.cast_signed() => return Err(Errno::INVAL),
        _ => {
            let bytes: Vec<u8> = groups
                .iter()
                .flat_map(|id| id_bytes(*id, question))
                .collect();
            caller.write(question.arguments[1], &bytes)?;
        }
    }
    Ok(Answer::Value(count))
}

fn read_groups(caller: &Caller<'_>, question: &Question) -> Result<Vec<u32>, Errno> {
    let count = usize::try_from(question.word(0)).unwrap_or(usize::MAX);
    if count > MAX_GROUPS {
        return Err(Errno::INVAL);
    }
    let width = if question.has_short_ids { 2 } else { 4 };
    let mut bytes = vec![0; count * width];
    if count > 0 {
        caller.read(question.arguments[1], &mut bytes)?;
    }
    let id = |bytes: &[u8]| {
        let mut whole = [0; 4];
        whole[..width].copy_from_slice(bytes);
        u32::from_ne_bytes(whole)
    };
    let mut groups: Vec<u32> = bytes.chunks_exact(width).map(id).collect();
    groups.sort_unstable();
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_becomes_somebody_for_good() {
        let mut ids = Ids::all(0);
        ids.set(1000, true).unwrap();
        assert_eq!(ids, Ids::all(1000));
        assert_eq!(ids.set(0, false), Err(Errno::PERM));
        assert_eq!(
            ids.set_three([None, Some(0), None], false),
            Err(Errno::PERM)
        );
        assert_eq!(ids.set_two(Some(0), None, false), Err(Errno::PERM));
    }

    #[test]
    fn root_becomes_somebody_for_a_while() {
        let mut ids = Ids::all(0);
        ids.set_three([None, Some(33), None], true).unwrap();
        assert_eq!(
            (ids.real, ids.effective, ids.saved, ids.file),
            (0, 33, 0, 33)
        );
        // Another thread does the same again.
        ids.set_three([None, Some(33), None], false).unwrap();
        ids.set(0, false).unwrap();
        assert_eq!(ids, Ids::all(0));
        ids.set_two(None, Some(5), true).unwrap();
        assert_eq!((ids.real, ids.effective, ids.saved), (0, 5, 5));
        ids.set_two(Some(5), Some(0), false).unwrap();
        assert_eq!((ids.real, ids.effective), (5, 0));
    }

    #[test]
    fn ids_for_files_never_fail() {
        let mut ids = Ids::all(0);
        assert_eq!(ids.set_file(Some(7), true), 0);
        assert_eq!(ids.set_file(Some(8), false), 7);
        assert_eq!(ids.set_file(None, true), 7);
    }

    #[test]
    fn programs_with_set_id_bits() {
        let owner = Owner { uid: 0, gid: 42 };
        let mut identity = Identity::new(1000, 1000, &[]);
        identity.becomes(0o4755, owner);
        assert_eq!((identity.user(), identity.group()), (0, 1000));
        assert_eq!(identity.uid.real, 1000);
        let mut identity = Identity::new(1000, 1000, &[]);
        identity.becomes(0o2755, owner);
        assert_eq!((identity.user(), identity.group()), (1000, 42));
    }

    #[test]
    fn who_may_give_a_file_away() {
        let app = Identity::new(1000, 1000, &[50]);
        let own = Owner {
            uid: 1000,
            gid: 1000,
        };
        assert!(app.may_give(&own, Some(1000), Some(50)));
        assert!(!app.may_give(&own, Some(0), None));
        assert!(!app.may_give(&own, None, Some(0)));
        assert!(!app.may_give(&Owner { uid: 0, gid: 0 }, None, Some(50)));
    }
}
