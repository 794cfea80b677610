//! `--chmod`: new permission bits from old ones.
//!
//! Symbolic modes follow chmod(1) with an empty umask: `[ugoa]*([-+=][rwxXstugo]*)+`, several
//! joined by commas. `X` looks at the mode the file had at first.

use rbuild_planner::Chmod;

use super::error::{FilesError, quoted};

const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const RWX: u32 = 0o777;

/// A parsed `--chmod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// The bits that everything gets.
    Octal(u32),
    /// Actions, one after the other.
    Symbolic(Vec<Action>),
}

/// One operator with its permissions, e.g. the `+x` of `u+x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Action {
    /// The bits that may change.
    who: u32,
    operator: u8,
    /// Permissions for all classes; `who` cuts them.
    bits: u32,
    /// Execute bits that are added if the file is a directory or had any of them.
    conditional: bool,
    /// Classes (shifts) whose bits are taken over.
    copies: [bool; 3],
}

impl ModeChange {
    /// Parses a checked value.
    ///
    /// # Errors
    /// [`FilesError::BadMode`] for what is neither form.
    pub(crate) fn parse(value: &Chmod) -> Result<Self, FilesError> {
        match value {
            Chmod::Octal(bits) => Ok(Self::Octal(bits & 0o7777)),
            Chmod::Symbolic(text) => parse_clauses(text.as_bytes())
                .map(Self::Symbolic)
                .ok_or_else(|| FilesError::BadMode {
                    value: quoted(text.as_bytes()),
                }),
        }
    }

    /// Returns the mode that directories made on the way to the destination get.
    pub(crate) fn of_parents(&self) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(_) => super::place::DIRECTORY_MODE,
        }
    }

    /// Returns what becomes of `mode`.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let actions = match self {
            Self::Octal(bits) => return *bits,
            Self::Symbolic(actions) => actions,
        };
        let may_execute = is_directory || mode & 0o111 != 0;
        actions.iter().fold(mode, |new, action| {
            let mut bits = action.bits & action.who;
            if action.conditional && may_execute {
                bits |= 0o111 & action.who;
            }
            for (class, is_copied) in action.copies.iter().enumerate() {
                if *is_copied {
                    let class = new >> (3 * class) & 0o7;
                    bits |= (class * 0o111) & action.who & RWX;
                }
            }
            match action.operator {
                b'+' => new | bits,
                b'-' => new & !bits,
                _ => new & !action.who | bits,
            }
        })
    }
}

fn parse_clauses(text: &[u8]) -> Option<Vec<Action>> {
    let mut actions = Vec::new();
    for clause in text.split(|byte| *byte == b',') {
        let operator = clause.iter().position(|byte| b"+-=".contains(byte))?;
        let (classes, mut rest) = clause.split_at(operator);
        let mut who = 0;
        for class in classes {
            who |= match class {
                b'u' => 0o4700,
                b'g' => 0o2070,
                b'o' => 0o007,
                b'a' => SET_ID | RWX,
                _ => return None,
            };
        }
        while let Some((operator, permissions)) = rest.split_first() {
            let end = permissions
                .iter()
                .position(|byte| b"+-=".contains(byte))
                .unwrap_or(permissions.len());
            actions.push(parse_action(who, *operator, &permissions[..end])?);
            rest = &permissions[end..];
        }
    }
    Some(actions)
}

fn parse_action(who: u32, operator: u8, permissions: &[u8]) -> Option<Action> {
    let is_others_only = who == 0o007;
    let mut action = Action {
        who: if who == 0 { SET_ID | RWX } else { who },
        operator,
        ..Action::default()
    };
    for permission in permissions {
        match permission {
            b'r' => action.bits |= 0o444,
            b'w' => action.bits |= 0o222,
            b'x' => action.bits |= 0o111,
            // Taking execution away conditionally has no meaning, so it does nothing.
            b'X' => action.conditional |= operator != b'-',
            // Others have no set-id and no sticky bit.
            b's' if is_others_only => {}
            b's' => action.bits |= SET_ID,
            b't' if is_others_only => {}
            b't' => {
                action.bits |= STICKY;
                action.who |= STICKY;
            }
            b'u' => action.copies[2] = true,
            b'g' => action.copies[1] = true,
            b'o' => action.copies[0] = true,
            _ => return None,
        }
    }
    // Taking over another class's bits leaves the set-id bits alone.
    if action.bits == 0 && !action.conditional && action.copies.contains(&true) {
        action.who &= RWX;
    }
    Some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, mode: u32, is_directory: bool, expected: u32) {
        let change = ModeChange::parse(&Chmod::Symbolic(text.into())).unwrap();
        let found = change.apply(mode, is_directory);
        assert_eq!(found, expected, "{text} on {mode:o}: {found:o}");
    }

    #[test]
    fn symbolic_modes() {
        for (text, mode, expected) in [
            ("=", 0o777, 0),
            ("+", 0o421, 0o421),
            ("-", 0o421, 0o421),
            ("u+r", 0, 0o400),
            ("g+w", 0, 0o020),
            ("o+x", 0, 0o001),
            ("+x", 0o644, 0o755),
            ("a-w", 0o777, 0o555),
            ("-r", 0o777, 0o333),
            ("u=rw", 0o777, 0o677),
            ("u=", 0o777, 0o077),
            ("go=", 0o777, 0o700),
            ("u+s", 0o755, 0o4755),
            ("g+s", 0o755, 0o2755),
            ("o+s", 0o755, 0o755),
            ("+s", 0o755, 0o6755),
            ("-s", 0o6755, 0o755),
            ("+t", 0o421, 0o1421),
            ("-t", 0o1421, 0o421),
            ("u=g", 0o042, 0o442),
            ("u=g-w", 0o762, 0o462),
            ("u+go", 0o021, 0o321),
            ("go=u-w", 0o670, 0o644),
            ("u=rwx,go=u-w", 0, 0o755),
            ("a=r,ug=rw,u+x", 0o777, 0o764),
            ("u+X", 0, 0),
            ("u+X", 0o001, 0o101),
            ("-X", 0o777, 0o777),
            ("=rw,+X", 0o766, 0o777),
            ("u=rwX,go=rX", 0o600, 0o644),
            ("u=rwX,go=rX", 0o700, 0o755),
            ("u+w-x", 0o555, 0o655),
        ] {
            check(text, mode, false, expected);
        }
        check("u=rwX,go=rX", 0o700, true, 0o755);
        check("u=rwX,go=rX", 0o666, true, 0o755);
        check("+X", 0, true, 0o111);
    }

    #[test]
    fn malformed_modes_are_refused() {
        for text in [
            "", ",", "zz", "q+r", "u", "go", "u+r,", "u+q", "755x", "+r u",
        ] {
            let error = ModeChange::parse(&Chmod::Symbolic(text.into())).unwrap_err();
            assert!(error.to_string().contains("invalid syntax"), "{text}");
        }
        let octal = ModeChange::parse(&Chmod::Octal(0o1750)).unwrap();
        assert_eq!(octal.apply(0o4644, false), 0o1750);
        assert_eq!(octal.of_parents(), 0o1750);
    }
}
