//! Reading platforms as users write them, and giving every spelling one form.

use super::Platform;

const COMPONENT_PATTERN: &str = "^[A-Za-z0-9_.-]+$";
const OS_PATTERN: &str =
    r"^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.%-]*)((?:\\+[A-Za-z0-9_.%-]+)*)\\))?$";

const KNOWN_SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

const KNOWN_ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

pub(super) fn parse(text: &str) -> Result<Platform, String> {
    if text.contains('*') {
        return Err(format!("{}: wildcards not yet supported", quoted(text)));
    }
    let parts: Vec<&str> = text.splitn(4, '/').collect();
    let mut platform = parse_system(parts[0]).ok_or_else(|| {
        format!(
            "{} is an invalid OS component of {}: OSAndVersion specifier component must match \
             \"{OS_PATTERN}\"",
            quoted(parts[0]),
            quoted(text)
        )
    })?;
    if let Some(bad) = parts[1..].iter().find(|part| !is_component(part)) {
        return Err(format!(
            "{} is an invalid component of {}: platform specifier component must match \
             \"{COMPONENT_PATTERN}\"",
            quoted(bad),
            quoted(text)
        ));
    }
    let host = Platform::host();
    let (architecture, variant) = match parts[..] {
        [_] if KNOWN_SYSTEMS.contains(&platform.os.as_str()) => (host.architecture, host.variant),
        [word] => {
            let (architecture, variant) = normalize_architecture(word, "");
            if !KNOWN_ARCHITECTURES.contains(&architecture.as_str()) {
                return Err(format!(
                    "{}: unknown operating system or architecture",
                    quoted(text)
                ));
            }
            platform.os = host.os;
            (architecture, variant)
        }
        [_, architecture] => normalize_architecture(architecture, ""),
        [_, architecture, variant] => {
            let (architecture, mut variant) = normalize_architecture(architecture, variant);
            if architecture == "arm64" && variant.is_empty() {
                variant.push_str("v8");
            }
            platform.architecture = architecture;
            platform.variant = variant;
            return Ok(platform);
        }
        _ => {
            return Err(format!("{}: cannot parse platform specifier", quoted(text)));
        }
    };
    // `linux/arm` prints without the variant it implies.
    let is_implied = architecture == "arm" && variant == "v7";
    platform.variant = if is_implied { String::new() } else { variant };
    platform.architecture = architecture;
    Ok(platform)
}

/// Parses `<os>[(<version>[+<feature>]*)]`.
fn parse_system(text: &str) -> Option<Platform> {
    let (os, options) = match text.split_once('(') {
        Some((os, rest)) => (os, Some(rest.strip_suffix(')')?)),
        None => (text, None),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if os.is_empty() || !os.bytes().all(is_name) {
        return None;
    }
    let mut platform = Platform::new(&normalize_system(os), "");
    let mut options = options.unwrap_or_default().split('+');
    let is_option = |text: &str| {
        text.bytes()
            .all(|byte| is_name(byte) || matches!(byte, b'.' | b'%'))
    };
    let version = options.next().unwrap_or_default();
    let features: Vec<&str> = options.collect();
    let is_fine = is_option(version)
        && features
            .iter()
            .all(|feature| !feature.is_empty() && is_option(feature));
    if !is_fine {
        return None;
    }
    version.clone_into(&mut platform.os_version);
    platform.os_features = features.into_iter().map(str::to_owned).collect();
    Some(platform)
}

fn is_component(text: &&&str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Quotes as Go's `%q` does, for the texts at hand.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

pub(super) fn normalize_system(os: &str) -> String {
    let os = os.to_lowercase();
    if os == "macos" {
        "darwin".to_owned()
    } else {
        os
    }
}

pub(super) fn normalize_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_lowercase(), variant.to_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}
