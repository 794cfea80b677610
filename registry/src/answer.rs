//! Makes errors of answers that were not the wanted ones.

use std::time::Duration;

use jiff::fmt::rfc2822;
use serde_json::Value;
use ureq::http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use ureq::http::{HeaderMap, StatusCode};

use crate::error::{Answer, RegistryError};
use crate::redirect::Reply;
use crate::retry::{Failure, Patience};
use crate::secret::{Secret, presentable};
use crate::settings::Limits;
use crate::transport::read_document;

/// Most of an error body that is looked at.
const MAX_ERROR_BYTES: u64 = 16 * 1024;
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Headers that explain a 429.
const LIMIT_HEADERS: [&str; 3] = [
    "ratelimit-limit",
    "ratelimit-remaining",
    "docker-ratelimit-source",
];

/// What was asked, of whom, and with which credentials.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) subject: &'a str,
    pub(crate) name: &'a str,
    pub(crate) host: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) credentials: &'a str,
    /// What must not be repeated if the server echoes it.
    pub(crate) secrets: &'a [Secret],
    /// `pull` or `push`.
    pub(crate) action: &'static str,
}

impl Asked<'_> {
    /// Returns an answer with `message` as the server's words.
    pub(crate) fn answer(&self, message: String) -> Box<Answer> {
        Box::new(Answer {
            subject: self.subject.to_owned(),
            name: self.name.to_owned(),
            host: self.host.to_owned(),
            repository: self.repository.to_owned(),
            credentials: self.credentials.to_owned(),
            action: self.action,
            message,
        })
    }

    /// Reads the server's words out of `reply`.
    pub(crate) fn heard(&self, reply: Reply) -> Box<Answer> {
        let status = reply.response.status();
        let mut answer = self.answer(message(reply, self.secrets));
        if answer.message.is_empty() {
            answer.message = status.canonical_reason().unwrap_or_default().to_lowercase();
        }
        answer
    }
}

/// Turns an answer whose status is not a success into an error.
pub(crate) fn judge(asked: &Asked<'_>, reply: Reply, limits: &Limits) -> Failure {
    let status = reply.response.status();
    let after = retry_after(reply.response.headers());
    let limit_headers = limit_headers(reply.response.headers());
    let is_home = reply.is_home;
    let elsewhere = reply.origin.show();
    let mut answer = asked.heard(reply);
    if !is_home {
        answer.message = format!("{elsewhere} answered: {}", answer.message);
    }
    match status {
        StatusCode::NOT_FOUND => Failure::Final(RegistryError::NotFound { answer }),
        StatusCode::FORBIDDEN if is_home => Failure::Final(RegistryError::Denied { answer }),
        StatusCode::UNAUTHORIZED if is_home => {
            Failure::Final(RegistryError::Unauthorized { answer })
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let error = RegistryError::RateLimited {
                answer,
                retry_after: after.filter(|wish| *wish > limits.retry_after_cap),
                limits: limit_headers,
            };
            passing(error, after)
        }
        status => {
            let error = RegistryError::Status {
                status: status.as_u16(),
                answer,
            };
            // 499 and 522 are what nginx and Cloudflare say of broken connections.
            if matches!(status.as_u16(), 408 | 499 | 500 | 502 | 503 | 504 | 522) {
                passing(error, after)
            } else {
                Failure::Final(error)
            }
        }
    }
}

fn passing(error: RegistryError, after: Option<Duration>) -> Failure {
    Failure::Passing {
        error: Box::new(error),
        after,
        patience: Patience::Full,
    }
}

/// Returns the server's words, fit to be shown; empty if there are none.
pub(crate) fn message(reply: Reply, secrets: &[Secret]) -> String {
    let (parts, body) = reply.response.into_parts();
    let is_html = parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let bytes = read_document(body, MAX_ERROR_BYTES, ERROR_BODY_PATIENCE).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let words = match serde_json::from_str::<Value>(&text) {
        Ok(json) => json_words(&json).unwrap_or_else(|| text.into_owned()),
        Err(_) if is_html || text.trim_start().starts_with('<') => without_tags(&text),
        Err(_) => text.into_owned(),
    };
    presentable(&words, secrets)
}

/// Reads `{"errors": [{"code", "message", "detail"}]}` and what token servers write.
///
/// Spec: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes>
pub(crate) fn json_words(json: &Value) -> Option<String> {
    let text = |value: &Value, key: &str| {
        let text = value.get(key)?.as_str()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    if let Some(errors) = json.get("errors").and_then(Value::as_array) {
        let one = |error: &Value| match (text(error, "code"), text(error, "message")) {
            (Some(code), Some(message)) => Some(format!("{code}: {message}")),
            (code, message) => message.or(code),
        };
        let words: Vec<String> = errors.iter().filter_map(one).collect();
        return Some(words.join("; "));
    }
    let keys = ["message", "details", "detail", "error_description", "error"];
    keys.iter().find_map(|key| text(json, key))
}

pub(crate) fn without_tags(html: &str) -> String {
    let mut words = String::with_capacity(html.len());
    let mut is_inside = false;
    for c in html.chars() {
        match c {
            '<' => is_inside = true,
            '>' => {
                is_inside = false;
                words.push(' ');
            }
            c if !is_inside => words.push(c),
            _ => {}
        }
    }
    words
}

/// Reads `Retry-After`: seconds, or a date, which is compared with the server's own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let now = date(headers.get(DATE)?.to_str().ok()?)?;
    let seconds = date(text)?.as_second() - now.as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn limit_headers(headers: &HeaderMap) -> Vec<String> {
    let one = |name: &&str| {
        let value = headers.get(*name)?.to_str().ok()?;
        Some(format!("{name}: {}", presentable(value, &[])))
    };
    LIMIT_HEADERS.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_words(json: &str, expected: &str) {
        let words = json_words(&serde_json::from_str(json).unwrap());
        assert_eq!(words.as_deref().unwrap_or("-"), expected, "{json}");
    }

    #[test]
    fn words_of_registries() {
        check_words(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#,
            "MANIFEST_UNKNOWN: manifest unknown",
        );
        check_words(r#"{"errors":[{"code":"A"},{"message":"b"},5]}"#, "A; b");
        check_words(r#"{"errors":[]}"#, "");
        check_words(r#"{"errors":"x","message":"m"}"#, "m");
        check_words(
            r#"{"details":"incorrect username or password"}"#,
            "incorrect username or password",
        );
        check_words(
            r#"{"error":"invalid_grant","error_description":"no"}"#,
            "no",
        );
        check_words("[1]", "-");
    }

    #[test]
    fn html_is_reduced() {
        let page = "<html><head><title>502 Bad Gateway</title></head>\n<hr>nginx</html>";
        assert_eq!(
            presentable(&without_tags(page), &[]),
            "502 Bad Gateway nginx"
        );
    }

    #[test]
    fn retry_after_forms() {
        let after = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            retry_after(&headers).map(|wish| wish.as_secs())
        };
        let now = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(after(&[("retry-after", "7")]), Some(7));
        assert_eq!(
            after(&[("retry-after", "Sun, 06 Nov 1994 08:50:00 GMT"), now]),
            Some(23)
        );
        assert_eq!(
            after(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"), now]),
            Some(0)
        );
        assert_eq!(
            after(&[("retry-after", "Sun, 06 Nov 1994 08:50:00 GMT")]),
            None
        );
        assert_eq!(after(&[("retry-after", "soon"), now]), None);
        assert_eq!(after(&[now]), None);
    }
}
