//! What headers say of uploads: ranges of bytes, and where they go on.

use ureq::http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use ureq::http::{HeaderMap, HeaderValue, Uri};

use crate::url::Origin;

/// A registry behind a proxy that ends TLS may think that it is spoken to without.
pub(crate) fn over_tls(asked: &Uri, next: Uri) -> Uri {
    let (Some(here), Some(there)) = (Origin::of(asked), Origin::of(&next)) else {
        return next;
    };
    let is_same_port = there.port == here.port || there.port == 80;
    if !here.is_tls || there.is_tls || here.host != there.host || !is_same_port {
        return next;
    }
    let path = next.path_and_query().map_or("/", |path| path.as_str());
    format!("{}{path}", here.show()).parse().unwrap_or(next)
}

pub(crate) fn octets() -> (HeaderName, HeaderValue) {
    let value = HeaderValue::from_static("application/octet-stream");
    (CONTENT_TYPE, value)
}

/// `0-99` for the first hundred bytes; `None` for none.
pub(crate) fn content_range(start: u64, end: u64) -> Option<(HeaderName, HeaderValue)> {
    let last = end.checked_sub(1).filter(|last| *last >= start)?;
    let value = HeaderValue::from_str(&format!("{start}-{last}")).ok()?;
    Some((CONTENT_RANGE, value))
}

/// Reads `Range: 0-99` as 100 bytes that have arrived; `None` if the registry does not say.
pub(crate) fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?.trim();
    let (start, last) = text.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    (start.trim() == "0").then_some(last.checked_add(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_uploads() {
        let check = |text: &'static str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(text));
            assert_eq!(received(&headers), expected, "{text}");
        };
        check("0-99", Some(100));
        check("bytes=0-99", Some(100));
        check("0-0", Some(1));
        check("5-9", None);
        check("0-18446744073709551615", None);
        check("rubbish", None);
        assert_eq!(received(&HeaderMap::new()), None);
        assert!(content_range(5, 5).is_none() && content_range(0, 0).is_none());
        assert_eq!(content_range(5, 10).unwrap().1, "5-9");
    }

    #[test]
    fn a_location_stays_on_tls() {
        let check = |asked: &str, next: &str, expected: &str| {
            let over = over_tls(&asked.parse().unwrap(), next.parse().unwrap());
            assert_eq!(over.to_string(), expected);
        };
        check(
            "https://r.example/v2/",
            "http://r.example/u?a=b",
            "https://r.example/u?a=b",
        );
        check(
            "https://r.example:444/v2/",
            "http://r.example:444/u",
            "https://r.example:444/u",
        );
        check(
            "https://r.example/v2/",
            "http://s.example/u",
            "http://s.example/u",
        );
        check(
            "http://r.example/v2/",
            "http://r.example/u",
            "http://r.example/u",
        );
    }
}
