//! Sets of characters: `[…]`, `\d` and its kin, `[:alpha:]` and its.

/// A set of characters.
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    pub(super) negated: bool,
    pub(super) ranges: Vec<(char, char)>,
}

impl Class {
    pub(super) fn contains(&self, c: char) -> bool {
        let is_in = self.ranges.iter().any(|&(low, high)| low <= c && c <= high);
        is_in != self.negated
    }
}

/// Returns the class of `\d`, `\s`, `\w` or their opposites.
pub(super) fn named_class(letter: char) -> Option<Class> {
    let ranges = match letter.to_ascii_lowercase() {
        'd' => vec![('0', '9')],
        's' => vec![('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')],
        'w' => vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        _ => return None,
    };
    Some(Class {
        negated: letter.is_ascii_uppercase(),
        ranges,
    })
}

/// Returns the ranges between sorted `ranges`.
pub(super) fn complement(ranges: &[(char, char)]) -> Vec<(char, char)> {
    let mut outside = Vec::new();
    let mut next = Some('\0');
    for &(low, high) in ranges {
        if let Some(start) = next
            && start < low
        {
            let end = char::from_u32(u32::from(low) - 1).unwrap_or(start);
            outside.push((start, end));
        }
        next = char::from_u32(u32::from(high) + 1);
    }
    outside.extend(next.map(|start| (start, char::MAX)));
    outside
}

/// Returns the ranges of `[:name:]`.
pub(super) fn posix_class(name: &str) -> Option<Vec<(char, char)>> {
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, name),
    };
    let ranges = match name {
        "alnum" => vec![('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => vec![('A', 'Z'), ('a', 'z')],
        "ascii" => vec![('\0', '\u{7f}')],
        "blank" => vec![('\t', '\t'), (' ', ' ')],
        "cntrl" => vec![('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')],
        "digit" => vec![('0', '9')],
        "graph" => vec![('!', '~')],
        "lower" => vec![('a', 'z')],
        "print" => vec![(' ', '~')],
        "punct" => vec![('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => vec![('\t', '\r'), (' ', ' ')],
        "upper" => vec![('A', 'Z')],
        "word" => vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => vec![('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    };
    Some(if negated { complement(&ranges) } else { ranges })
}
