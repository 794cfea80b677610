//! A finished process and what it said.

use std::process::Command;

/// A finished process.
#[derive(Debug)]
pub(crate) struct Run {
    /// The command line, for messages.
    pub(crate) line: String,
    /// Exit status; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Run {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let line = describe(command);
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        Self {
            line,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.report());
        self
    }

    /// Asserts a clean refusal with this exit status: a message, no panic.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.report());
        assert!(
            !self.stderr.trim().is_empty(),
            "no message: {}",
            self.report()
        );
        assert!(!self.stderr.contains("panicked at"), "{}", self.report());
        self
    }

    /// Asserts that standard error holds `text`, whatever the line breaks.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let flat = |from: &str| {
            from.split(|c: char| c.is_whitespace() || "│·×╰╭─▶".contains(c))
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert!(
            flat(&self.stderr).contains(&flat(text)),
            "standard error does not say {text:?}: {}",
            self.report()
        );
        self
    }

    /// Returns standard output without the blanks around it.
    pub(crate) fn out(&self) -> &str {
        self.stdout.trim()
    }

    /// Everything there is to know, for a message.
    pub(crate) fn report(&self) -> String {
        format!(
            "{} ended with {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.line, self.code, self.stdout, self.stderr
        )
    }
}

/// A command as one line.
fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}
