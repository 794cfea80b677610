//! A small regular expression matcher: just what translated ignore patterns can hold. All ways are
//! followed at once, so time is bounded by the product of the lengths and no pattern can explode.

mod class;
mod compile;
mod run;

use class::Class;
use run::Run;

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Regex {
    program: Vec<Op>,
    classes: Vec<Class>,
    /// What every match starts with: most paths are refused by it.
    prefix: Vec<u8>,
    /// What every match ends with.
    suffix: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Takes this character.
    Char(char),
    /// Takes a character of this class.
    Class(usize),
    /// Takes any character but a newline.
    Any,
    /// Goes on at both.
    Split(usize, usize),
    /// Goes on if nothing was taken yet.
    Start,
    /// Goes on if nothing is left.
    End,
    /// Goes on between a word character and another, or (false) elsewhere.
    WordBoundary(bool),
    Match,
}

impl Regex {
    /// Tells whether the expression matches somewhere in `text`; translated ones are anchored.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        if !text.starts_with(&self.prefix) || !text.ends_with(&self.suffix) {
            return false;
        }
        let mut run = Run::new(self, text);
        while run.step() {}
        run.matched
    }

    /// Tells whether some text that starts with `start`, and goes on, could match.
    pub(super) fn is_alive_after(&self, start: &[u8]) -> bool {
        let common = self.prefix.len().min(start.len());
        if start[..common] != self.prefix[..common] {
            return false;
        }
        let mut run = Run::of_start(self, start);
        while run.step() {}
        // At the end of `start` the ways are there that could take more.
        run.active.iter().any(|&op| {
            matches!(
                self.program.get(op),
                Some(Op::Char(_) | Op::Class(_) | Op::Any)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(expression: &str) -> Option<Regex> {
        let chars: Vec<char> = expression.chars().collect();
        Regex::parse(&chars)
    }

    fn matches(expression: &str, text: &str) -> bool {
        compile(expression).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn expressions() {
        let cases: &[(&str, &str, bool)] = &[
            ("^a$", "a", true),
            ("^a$", "ab", false),
            ("^[^/]*\\.go$", "a.go", true),
            ("^[^/]*\\.go$", "a/b.go", false),
            ("^(.*/)?a$", "a", true),
            ("^(.*/)?a$", "x/y/a", true),
            ("^(.*/)?a$", "xa", false),
            ("^a(.*/)?b$", "ax/b", true),
            ("^a(.*/)?b$", "axb", false),
            ("^a(.*/)?(.*/)?b$", "a/x/b", true),
            ("^[a-c][^f]$", "bx", true),
            ("^[!f]oo$", "foo", true),
            ("^^a$", "a", true),
            ("^a^b$", "ab", false),
            ("^[[^/]*]$", "^^[]", true),
            ("^[]a]$", "]", true),
            ("^\\d\\w$", "1a", true),
            ("^\\D$", "1", false),
            ("^[\\Dx]$", "1", false),
            ("^[[:alpha:]]$", "q", true),
            ("^[[:^alpha:]]$", "q", false),
            ("^a\\b$", "a", true),
            ("^a\\bb$", "ab", false),
            ("^\\x41\\101$", "AA", true),
            ("^.*$", "a\nb", false),
            ("^[^/]*$", "a\nb", true),
            ("^.ä$", "üä", true),
        ];
        for (expression, text, expected) in cases {
            assert_eq!(matches(expression, text), *expected, "{expression} {text}");
        }
    }

    #[test]
    fn malformed_expressions() {
        for expression in [
            "^[a$",
            "^\\y$",
            "^\\",
            "^[b-a]$",
            "^[[:foo:]]$",
            "^\\8$",
            "^\\p$",
            "^\\x4$",
            "^\\x{}$",
        ] {
            assert!(compile(expression).is_none(), "{expression}");
        }
    }

    #[test]
    fn continuing() {
        let alive = |expression: &str, start: &str| {
            compile(expression)
                .unwrap()
                .is_alive_after(start.as_bytes())
        };
        assert!(alive("^foo/bar/[^/]*$", "foo/"));
        assert!(alive("^foo/bar/[^/]*$", "foo/bar/"));
        assert!(!alive("^foo/bar/[^/]*$", "foo/bar/x/"));
        assert!(!alive("^foo/bar/[^/]*$", "other/"));
        assert!(alive("^(.*/)?x[^/]$", "any/where/"));
        assert!(!alive("^[^/]*$", "foo/"));
        // What follows decides whether there is a word boundary.
        assert!(alive("^a/\\b[^/]*$", "a/"));
        assert!(alive("^a/\\B[^/]*$", "a/"));
    }

    #[test]
    fn hostile_expressions_end() {
        let expression = format!("^{}b$", "(.*/)?[^/]*a".repeat(300));
        assert!(!matches(&expression, &"a".repeat(4096)));
    }

    #[test]
    fn invalid_bytes_are_characters() {
        assert!(compile("^a.b$").unwrap().matches(b"a\xffb"));
        assert!(compile("^a\u{fffd}*$").unwrap().matches(b"a\xff\xfe"));
    }
}
