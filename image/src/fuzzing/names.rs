//! Texts that name images and platforms.

use crate::digest::Digest;
use crate::layer::path;
use crate::layout::parse_location;
use crate::media::{self, Encoding};
use crate::platform::Platform;
use crate::reference::{Reference, hint};

/// Any text is a reference, a platform, a path of a layer, or is refused; what is taken is printed
/// so that it is read again as the same. NUL separates texts.
pub fn references(input: &[u8]) {
    let mut platforms = Vec::new();
    for part in input.split(|byte| *byte == 0).take(16) {
        layer_path(part);
        let _encoding = Encoding::sniff(part);
        let Ok(text) = std::str::from_utf8(part) else {
            continue;
        };
        reference(text);
        location(text);
        media_type(text);
        if let Ok(digest) = text.parse::<Digest>() {
            assert_eq!(digest.to_string(), text);
        }
        platforms.extend(platform(text));
    }
    matching(&platforms);
}

fn reference(text: &str) {
    let Ok(found) = Reference::parse(text) else {
        let _hint = hint(text);
        return;
    };
    for printed in [found.to_string(), found.familiar()] {
        assert_eq!(Reference::parse(&printed).ok().as_ref(), Some(&found));
    }
    // What it is made of becomes a URL's path and the name of a file.
    assert!(!found.path.is_empty() && found.path.len() <= 255);
    for part in found.path.split('/') {
        assert!(!matches!(part, "" | "." | ".."), "{part:?}");
    }
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(is_plain(&found.to_string()));
    assert!(!found.domain.contains(['/', '@', '?', '#', '%']));
    let pulled = found.pull_form();
    assert!(pulled.tag.is_some() != pulled.digest.is_some());
    assert_eq!(pulled.pull_form(), pulled);
    assert_eq!(found.repository().familiar_name(), found.familiar_name());
}

fn location(text: &str) {
    let (path, _selector) = parse_location(text);
    let path = path.to_str().expect("a part of a text is one");
    assert!(text.contains(path), "{path:?} of {text:?}");
}

fn media_type(text: &str) {
    if media::layer_encoding(text).is_some() {
        assert!(media::is_layer(text));
    }
    assert!(!(media::is_layer(text) && media::is_config(text)));
}

fn platform(text: &str) -> Option<Platform> {
    let found = Platform::parse(text).ok()?;
    assert_eq!(
        Platform::parse(&found.describe()).ok().as_ref(),
        Some(&found)
    );
    assert!(found.is_unknown() || found.accepts(&found), "{text:?}");
    Some(found)
}

/// What two platforms are to each other does not depend on how they are asked.
pub(super) fn matching(platforms: &[Platform]) {
    for wanted in platforms {
        let normal = wanted.normalized();
        assert_eq!(normal.normalized(), normal);
        assert!(wanted.is_same(&normal));
        assert_eq!(wanted.fallbacks().first(), Some(&normal));
        let best = wanted.select(platforms.iter().map(Some));
        let accepted: Vec<usize> = (0..platforms.len())
            .filter(|place| wanted.accepts(&platforms[*place]))
            .collect();
        assert_eq!(best.is_some(), !accepted.is_empty());
        assert!(best.is_none_or(|best| accepted.contains(&best)));
        // An entry without a platform never wins over one that fits.
        let with_unknown = [None].into_iter().chain(platforms.iter().map(Some));
        let expected = best.map_or(0, |best| best + 1);
        assert_eq!(wanted.select(with_unknown), Some(expected));
    }
}

fn layer_path(raw: &[u8]) {
    assert!(!path::display(raw).chars().any(char::is_control));
    let Ok(clean) = path::clean(raw) else { return };
    assert!(path::is_clean(&clean), "{}", raw.escape_ascii());
    assert_eq!(path::clean(&clean).ok().as_ref(), Some(&clean));
    if let Some((parent, name)) = path::split_last(&clean) {
        assert_eq!(path::join(parent, name), clean);
        assert!(path::is_below(&clean, parent));
        assert!(path::compare_paths(parent, &clean).is_lt());
    }
    for ancestor in path::ancestors(&clean) {
        assert!(path::is_clean(ancestor) && path::is_below(&clean, ancestor));
    }
}
