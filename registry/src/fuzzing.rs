//! What must hold whatever servers answer and whatever stands in the files that say how they are
//! asked: the body of a fuzz target.
//!
//! The target in `fuzz/` calls it with what the fuzzer finds; the test below calls it with the seeds
//! that are kept there, so that what was once broken stays mended without a fuzzer.

use std::path::Path;

use ureq::http::header::{
    CONTENT_RANGE, DATE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use ureq::http::{HeaderMap, Uri};

use crate::answer::{json_words, retry_after, without_tags};
use crate::blob::{content_range, content_range_total, foreign_sources};
use crate::challenge::Challenge;
use crate::credentials::{CredentialStore, Login};
use crate::redirect::{check, foreign_problem, shown_location};
use crate::registries_conf::Registries;
use crate::secret::{Secret, presentable};
use crate::settings::Settings;
use crate::token::read_token;
use crate::url::{Origin, encode_component, encode_pairs, join, show};
use crate::{Descriptor, RegistryError};

/// A password that must not be seen.
const PASSWORD: &str = "pa/ss+w:rd";

/// Any header, token, message, address, credential file or list of registries is understood or
/// refused; nothing unfit for a terminal and no secret comes out. The first byte tells which it is.
pub fn answers(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match kind {
        b'a' => challenge(rest),
        b't' => token(rest),
        b'm' => message(&text),
        b'l' => location(&text),
        b'h' => headers(rest),
        b'c' => credentials(&text),
        b'r' => registries(&text),
        _ => {}
    }
}

/// Header values, a line each.
fn values(bytes: &[u8]) -> impl Iterator<Item = HeaderValue> {
    let lines = bytes.split(|byte| *byte == b'\n').take(64);
    lines.filter_map(|line| HeaderValue::from_bytes(line).ok())
}

fn challenge(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in values(bytes) {
        headers.append(WWW_AUTHENTICATE, value);
    }
    if let Some(Challenge::Bearer {
        realm,
        service,
        scope,
    }) = Challenge::best(&headers)
    {
        assert!(!realm.is_empty());
        let service = service.unwrap_or_default();
        let scope = scope.unwrap_or_default();
        check_component(&encode_pairs(&[("service", &service), ("scope", &scope)]));
        location(&realm);
    }
}

fn check_component(encoded: &str) {
    assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!encoded.contains(['#', '?', '"', '\'']));
}

fn token(bytes: &[u8]) {
    match read_token(bytes) {
        Ok(found) => {
            assert!(!found.token.reveal().is_empty());
            assert!((1..=86_400).contains(&found.lifetime.as_secs()));
        }
        // A message never quotes what may be half of a token.
        Err(problem) => assert!(problem.starts_with("its answer")),
    }
}

fn message(text: &str) {
    let words = match serde_json::from_str(text) {
        Ok(json) => json_words(&json).unwrap_or_default(),
        Err(_) => without_tags(text),
    };
    for words in [text, &words] {
        let shown = presentable(words, &[Secret::new(PASSWORD)]);
        check_shown(&shown);
        assert!(shown.chars().count() <= 260, "{}", shown.len());
        // Somebody who knows the password can still spell it with what is dropped.
        if words.is_ascii() {
            assert!(!shown.contains(PASSWORD), "{shown}");
            assert!(!shown.contains(&encode_component(PASSWORD)), "{shown}");
        }
    }
}

fn check_shown(shown: &str) {
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(!shown.contains(['\u{202e}', '\u{2066}', '\u{200b}']));
}

/// Where one server sends us is another server, over http or https, and is shown without what may
/// be a signature.
fn location(text: &str) {
    check_shown(&shown_location(text));
    check_component(&encode_component(text));
    for base in ["https://reg.example:5000/v2/a/b?x=1", "http://[::1]/"] {
        let base: Uri = base.parse().expect("it is a URL");
        let home = Origin::of(&base).expect("it has an origin");
        let Some(next) = join(&base, text) else {
            continue;
        };
        let origin = Origin::of(&next).expect("only http and https are joined");
        assert!(!show(&next).contains(['?', '#', '@']) || next.path().contains('@'));
        assert!(!origin.host.is_empty() && !origin.host.contains('/'));
        if let Ok(allowed) = check(&home, &home, &next) {
            assert_eq!(allowed, origin);
            assert!(allowed.host == home.host || foreign_problem(&allowed).is_none());
            let has_user = next.authority().is_some_and(|a| a.as_str().contains('@'));
            assert!(!has_user);
        }
    }
    let mut descriptor = Descriptor::of("", b"");
    descriptor.urls = vec![text.to_owned()];
    for uri in foreign_sources(&descriptor) {
        let origin = Origin::of(&uri).expect("it is a URL");
        assert_eq!(foreign_problem(&origin), None);
    }
}

fn headers(bytes: &[u8]) {
    const NAMES: [HeaderName; 3] = [RETRY_AFTER, DATE, CONTENT_RANGE];
    let mut headers = HeaderMap::new();
    for (name, value) in NAMES.into_iter().zip(values(bytes)) {
        headers.insert(name, value);
    }
    let _wish = retry_after(&headers);
    let _ranges = (content_range(&headers), content_range_total(&headers));
}

/// A file of credentials, in both formats. None that names a helper: nothing is to be run here.
fn credentials(text: &str) {
    if text.contains("cred") || text.contains('\\') {
        return;
    }
    let settings = Settings {
        docker_auth_config: Some(Secret::new(text)),
        ..Settings::default()
    };
    let store = CredentialStore::new(settings);
    for (host, repository) in [("docker.io", "library/a"), ("h:5000", "a/b/c")] {
        match store.find(host, repository) {
            Ok(Some(found)) => {
                let secret = match &found.login {
                    Login::Basic { password, .. } => password,
                    Login::Identity { token, .. } | Login::Registry { token } => token,
                };
                let shown = format!("{found:?}");
                let is_telling =
                    secret.reveal().len() > 12 && text.matches(secret.reveal()).count() == 1;
                assert!(!is_telling || !shown.contains(secret.reveal()));
            }
            Ok(None) => {}
            Err(error) => check_error(&error, text),
        }
    }
}

/// What is wrong with a file is said without its content.
fn check_error(error: &RegistryError, text: &str) {
    let shown = error.to_string();
    assert!(shown.len() < 400, "{shown}");
    assert!(!text.contains(PASSWORD) || !shown.contains(PASSWORD));
}

fn registries(text: &str) {
    let mut registries = Registries::default();
    let path = Path::new("file");
    let _toml = registries.add_toml(path, text);
    let _json = registries.add_daemon_json(path, text);
    for name in ["docker.io/library/a:1", "h.example:5000/a/b", "[::1]/a"] {
        if let Some((_, covered)) = registries.entry(name) {
            assert!(name.is_char_boundary(covered) && covered <= name.len());
        }
        let authority = name.split('/').next().unwrap_or_default();
        let _is_insecure = registries.is_insecure(authority);
    }
}

#[cfg(test)]
#[path = "../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_of_answers() {
        super::seeds::check_seeds("answers", super::answers);
    }
}
