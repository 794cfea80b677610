//! Platforms against what containerd makes of them.

use std::collections::BTreeMap;

use rbuild_image::platform::Platform;

#[test]
fn platforms_are_chosen_as_containerd_chooses_them() {
    let Some(text) = crate::vectors::read("platforms.txt") else {
        return;
    };
    let mut indexes = BTreeMap::new();
    let (mut n_requests, mut n_texts) = (0, 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some((name, rest)) = line.split_once(" [") {
            let entries: Vec<Platform> = rest.trim_end_matches(']').split(' ').map(entry).collect();
            indexes.insert(name.to_owned(), entries);
        } else if let Some((input, expected)) = line.split_once(" -> ") {
            check_text(input.trim_matches('"'), expected);
            n_texts += 1;
        } else {
            check_request(line, &indexes);
            n_requests += 1;
        }
    }
    assert_eq!((n_requests, n_texts), (24, 10));
}

/// An index holds what its author wrote, so nothing is normalised.
fn entry(text: &str) -> Platform {
    let mut parts = text.split('/');
    let mut platform = Platform::new(parts.next().unwrap(), parts.next().unwrap());
    platform.variant = parts.next().unwrap_or_default().to_owned();
    platform
}

fn check_request(line: &str, indexes: &BTreeMap<String, Vec<Platform>>) {
    let mut words = line.split_whitespace();
    let request = words.next().unwrap();
    let is_partial = !request.contains('/');
    if is_partial && Platform::host() != Platform::new("linux", "amd64") {
        return;
    }
    let platform = Platform::parse(request).unwrap();
    let format = words.next().unwrap().strip_prefix("fmt=").unwrap();
    assert_eq!(platform.to_string(), format, "format of {request}");
    for word in words {
        let (index, expected) = word.split_once(':').unwrap();
        let entries = &indexes[index];
        let chosen = platform
            .select(entries.iter().map(Some))
            .map_or("-".to_owned(), |place| {
                let name = entries[place].to_string();
                name.strip_prefix("linux/").unwrap_or(&name).to_owned()
            });
        assert_eq!(chosen, expected, "{request} in index {index}");
    }
}

fn check_text(input: &str, expected: &str) {
    let (format, error) = expected.split_once(" | ").unwrap();
    match Platform::parse(input) {
        Ok(platform) => {
            assert_eq!(error, "<nil>", "{input} must not parse");
            assert_eq!(platform.describe(), format, "format of {input}");
        }
        Err(found) => assert_eq!(found.to_string(), error, "error of {input}"),
    }
}
