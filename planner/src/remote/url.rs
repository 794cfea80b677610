//! The parts of a URL that matter here.

use super::UrlLogin;

/// A URL of a known scheme, cut into its parts as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Url<'a> {
    /// `https`.
    pub(super) scheme: &'a str,
    user: Option<&'a str>,
    /// Host and port.
    pub(super) host: &'a str,
    /// With its slash; may be empty.
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) fragment: Option<&'a str>,
}

impl<'a> Url<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err("it has blanks or control characters in it".to_owned());
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| "it has no scheme".to_owned())?;
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err("it names no host".to_owned());
        }
        Ok(Self {
            scheme,
            user,
            host,
            path,
            query,
            fragment,
        })
    }

    /// The URL without user and fragment.
    pub(super) fn without_login(&self) -> String {
        let query = self
            .query
            .map_or_else(String::new, |query| format!("?{query}"));
        format!("{}://{}{}{query}", self.scheme, self.host, self.path)
    }

    /// The user as written, without a password.
    pub(super) fn user(&self) -> Option<&'a str> {
        let user = self.user?.split(':').next()?;
        (!user.is_empty()).then_some(user)
    }

    /// True if there is a password.
    pub(super) fn has_password(&self) -> bool {
        self.user.is_some_and(|user| user.contains(':'))
    }

    pub(super) fn login(&self) -> Option<UrlLogin> {
        let (user, password) = cut(self.user?, ':');
        let text = |part: &str| String::from_utf8_lossy(&decode(part)).into_owned();
        Some(UrlLogin {
            user: text(user),
            password: text(password.unwrap_or_default()),
        })
    }
}

/// Splits at the first `separator`, which belongs to neither part.
pub(super) fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Undoes percent-encoding. What is no encoding stays.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(decoded)) if !digits.is_some_and(|digits| digits.starts_with('+')) => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Returns `text` with the passwords of the URLs in it replaced by as many `x`, and of http URLs
/// the user too, who may be a token. The length in bytes stays.
#[must_use]
pub fn mask_logins(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let (authority, behind) = after.split_at(end_of_authority(after));
        out.push_str(before);
        match authority.rsplit_once('@') {
            Some((login, host)) => {
                let hides_user = before.ends_with("http://") || before.ends_with("https://");
                mask(login, hides_user, &mut out);
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Returns where host and user end. Passwords may hold quotes: one ends the URL only where it ends a
/// word, or an element of a list.
fn end_of_authority(text: &str) -> usize {
    let is_end = |(at, c): &(usize, char)| {
        let mut behind = text[at + c.len_utf8()..].chars();
        match c {
            ' ' | '/' | '?' | '#' => true,
            '\'' | '"' | '\\' => behind
                .next()
                .is_none_or(|next| next.is_whitespace() || ",]'\"\\".contains(next)),
            c => c.is_control(),
        }
    };
    let found = text.char_indices().find(is_end);
    found.map_or(text.len(), |(at, _)| at)
}

fn mask(login: &str, hides_user: bool, out: &mut String) {
    let (user, password) = cut(login, ':');
    let hidden = |text: &str| "x".repeat(text.len());
    out.push_str(&if hides_user {
        hidden(user)
    } else {
        user.to_owned()
    });
    if let Some(password) = password {
        out.push(':');
        out.push_str(&hidden(password));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked() {
        for (text, expected) in [
            ("ADD http://u:pw@h/x /y", "ADD http://x:xx@h/x /y"),
            (
                "ADD https://token@h/x.git /y",
                "ADD https://xxxxx@h/x.git /y",
            ),
            ("ssh://git:pw@h/r git@h:r", "ssh://git:xx@h/r git@h:r"),
            ("ssh://git@h/r", "ssh://git@h/r"),
            (
                "\"http://u:pé@h\" http://a:b@c",
                "\"http://x:xxx@h\" http://x:x@c",
            ),
            ("http://u:p'w@h/", "http://x:xxx@h/"),
            ("[\"http://h\", \"a@b\"]", "[\"http://h\", \"a@b\"]"),
            ("http://h/a@b:c ://", "http://h/a@b:c ://"),
            ("", ""),
        ] {
            assert_eq!(mask_logins(text), expected);
            assert_eq!(mask_logins(text).len(), text.len());
        }
    }

    #[test]
    fn percent_encoding() {
        assert_eq!(decode("a%2Fb%2"), b"a/b%2");
        assert_eq!(decode("%zz%é%+1"), "%zz%é%+1".as_bytes());
    }
}
