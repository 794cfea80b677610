//! What else a processor runs.

use super::Platform;

/// Returns N of `vN`, up to 99.
pub(super) fn level_of(variant: &str) -> Option<u32> {
    let digits = variant.strip_prefix('v')?;
    (digits.len() <= 2).then(|| digits.parse().ok()).flatten()
}

pub(super) fn arm_fallbacks(wanted: &Platform) -> Vec<Platform> {
    let mut found = vec![wanted.clone()];
    if let Some(level) = level_of(&wanted.variant) {
        found.extend((5..level).rev().map(|n| Platform {
            variant: format!("v{n}"),
            ..wanted.clone()
        }));
    }
    found
}

/// Returns the variants of arm64 that `variant` runs: `v9.x` includes `v8.(x+5)`.
pub(super) fn arm64_variants(variant: &str) -> Vec<String> {
    let name = |major: u32, minor: u32| match (major, minor) {
        (8, 0) => String::new(),
        (major, 0) => format!("v{major}"),
        (major, minor) => format!("v{major}.{minor}"),
    };
    let version = if variant.is_empty() { "v8" } else { variant };
    let version = version.strip_prefix('v').unwrap_or_default();
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    // A number in another spelling (`v9.04`) makes a variant that nothing else is.
    let number = minor.parse::<u32>().ok();
    match (major, number.filter(|number| number.to_string() == minor)) {
        ("8", Some(minor @ 0..100)) => (0..=minor).rev().map(|n| name(8, n)).collect(),
        ("9", Some(minor @ 0..100)) => {
            let newer = (0..=minor).rev().map(|n| name(9, n));
            newer
                .chain((0..=minor + 5).rev().map(|n| name(8, n)))
                .collect()
        }
        _ => vec![variant.to_owned()],
    }
}

/// Returns major, minor and build: images run on the same build of Windows only.
pub(super) fn windows_build(version: &str) -> Vec<&str> {
    version.split('.').take(3).collect()
}
