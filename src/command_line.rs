//! From words to commands, as Docker's own program reads them: `rbuild PATH` is a build, a flag may
//! have a value (`--quiet=false`), of an option that is given twice the last counts, and wrong use
//! has Docker's exit codes.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, CommandFactory as _, FromArgMatches as _, Parser as _};
use rbuild_parser::boolean::parse_bool;

use crate::arguments::Arguments;
use crate::{output, wrong_use};

/// What is done instead of a command: help is shown, or what is wrong.
#[derive(Debug)]
pub(crate) struct Refusal {
    error: clap::Error,
    /// What Docker says.
    text: Option<String>,
    /// The exit code.
    pub(crate) code: i32,
}

impl Refusal {
    /// Prints what there is to be said.
    pub(crate) fn print(&self) {
        match &self.text {
            Some(text) => output::note(text),
            // Nobody may be listening; the exit code tells.
            None => drop(self.error.print()),
        }
    }
}

/// Reads the command line; `rbuild [OPTIONS] PATH` means `rbuild build [OPTIONS] PATH`.
///
/// # Errors
/// What to print instead of doing something, and the exit code.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Arguments, Refusal> {
    let words = with_default_command(words.collect());
    read(&words).map_err(|error| {
        let text = is_of_docker(&words).then(|| wrong_use::message(&error, &words));
        let code = exit_code(&error, &words);
        Refusal {
            error,
            text: text.flatten(),
            code,
        }
    })
}

fn read(words: &[OsString]) -> Result<Arguments, clap::Error> {
    let mut command = with_values_of_flags(Arguments::command());
    let outcome = command
        .try_get_matches_from_mut(words)
        .and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches))
        .map_err(|error| error.format(&mut command));
    outcome.map_err(|error| {
        // Help and messages show flags as they are meant to be typed.
        match Arguments::try_parse_from(words) {
            Err(plain) if plain.kind() == error.kind() => plain,
            _ => error,
        }
    })
}

/// Lets every flag have a truth value behind `=`, and every option be given again.
fn with_values_of_flags(command: clap::Command) -> clap::Command {
    let with_value = |arg: Arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_name("BOOL")
            .default_value("false")
            .default_missing_value("true")
            .value_parser(truth),
        _ => arg,
    };
    command
        .args_override_self(true)
        .mut_args(with_value)
        .mut_subcommands(with_values_of_flags)
}

fn truth(text: &str) -> Result<bool, String> {
    parse_bool(text).ok_or_else(|| "it is true or false".to_owned())
}

/// Commands that Docker has, where scripts know its exit codes.
const OF_DOCKER: &[&str] = &[
    "builder", "buildx", "export", "history", "image", "images", "import", "inspect", "load",
    "login", "logout", "manifest", "pull", "push", "rmi", "save", "search", "system", "tag",
];

fn is_of_docker(words: &[OsString]) -> bool {
    let is_of_docker =
        |word: &OsString| word.to_str().is_some_and(|word| OF_DOCKER.contains(&word));
    words.iter().skip(1).take(3).any(is_of_docker)
}

/// Wrong use ends with 2; of a command that Docker has with 125 for options, as with Docker, and
/// with 1 for a wrong number of arguments.
fn exit_code(error: &clap::Error, words: &[OsString]) -> i32 {
    let code = error.exit_code();
    if code == 0 || !is_of_docker(words) {
        return code;
    }
    let is_option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.starts_with('-'),
        _ => false,
    };
    match error.kind() {
        // Docker shows help then.
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => 0,
        ErrorKind::MissingRequiredArgument | ErrorKind::TooManyValues => 1,
        _ if is_option => 125,
        _ => 1,
    }
}

/// Puts `build` before the first word that is neither a global option nor a command.
fn with_default_command(mut words: Vec<OsString>) -> Vec<OsString> {
    let mut place = 1;
    while let Some(word) = words.get(place).and_then(|word| word.to_str()) {
        match word {
            "--root" => place += 2,
            _ if word.starts_with("--root=") => place += 1,
            _ => break,
        }
    }
    let is_command = |word: &str| {
        matches!(word, "help" | "-h" | "--help" | "-V" | "--version")
            || Arguments::command().get_subcommands().any(|command| {
                command.get_name() == word || command.get_all_aliases().any(|alias| alias == word)
            })
    };
    match words.get(place) {
        Some(word) if !word.to_str().is_some_and(is_command) => words.insert(place, "build".into()),
        _ => {}
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, expected: &str) {
        let words = typed.split(' ').map(OsString::from).collect();
        let expected: Vec<_> = expected.split(' ').map(OsString::from).collect();
        assert_eq!(with_default_command(words), expected);
    }

    #[test]
    fn build_is_the_default_command() {
        check("rbuild .", "rbuild build .");
        check("rbuild -t a:1 -f F .", "rbuild build -t a:1 -f F .");
        check("rbuild build .", "rbuild build .");
        check("rbuild --root /r -t a .", "rbuild --root /r build -t a .");
        check("rbuild --root=/r images", "rbuild --root=/r images");
        check("rbuild --help", "rbuild --help");
        check("rbuild b .", "rbuild b .");
    }

    fn parsed(typed: &str) -> Result<Arguments, Refusal> {
        parse(typed.split(' ').map(OsString::from))
    }

    #[test]
    fn exit_codes_are_docker_s() {
        let code = |typed: &str| parsed(typed).map_or_else(|refusal| refusal.code, |_| 0);
        for (typed, expected) in [
            ("rbuild images --nope", 125),
            ("rbuild images -z", 125),
            ("rbuild images --quiet=maybe", 125),
            ("rbuild images --format", 125),
            ("rbuild history -H=maybe a", 125),
            ("rbuild search --limit=x a", 125),
            ("rbuild image", 0),
            ("rbuild image nope", 1),
            ("rbuild image prune --nope", 125),
            ("rbuild builder prune --nope", 125),
            ("rbuild buildx du --nope", 125),
            ("rbuild images a b", 1),
            ("rbuild tag a", 1),
            ("rbuild logout a b", 1),
            ("rbuild --root /r inspect", 1),
            ("rbuild build --nope .", 2),
            ("rbuild images --help", 0),
            ("rbuild images -aq --no-trunc", 0),
        ] {
            assert_eq!(code(typed), expected, "{typed}");
        }
    }

    /// What the flags of a command come to.
    fn flags(typed: &str) -> String {
        let (_, options) = format!("{:?}", parsed(typed).unwrap().command)
            .split_once('{')
            .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
            .unwrap();
        options
    }

    #[test]
    fn flags_may_have_values() {
        for (typed, expected) in [
            ("rbuild images", "quiet: false, all: false"),
            ("rbuild images -q", "quiet: true, all: false"),
            ("rbuild images -aq", "quiet: true, all: true"),
            ("rbuild images -qa=false", "quiet: true, all: false"),
            (
                "rbuild images --quiet=false -a=T",
                "quiet: false, all: true",
            ),
            (
                "rbuild images --quiet --quiet=0",
                "quiet: false, all: false",
            ),
            ("rbuild images -q -q --all=1", "quiet: true, all: true"),
        ] {
            assert!(flags(typed).contains(expected), "{typed}: {}", flags(typed));
        }
        let last = flags("rbuild images --format a --format=b -f x=1 -f y=2");
        assert!(last.contains("format: Some(\"b\")"), "{last}");
        assert!(last.contains("[\"x=1\", \"y=2\"]"), "{last}");
        // A flag takes no word that stands apart.
        let name = flags("rbuild images --quiet false");
        assert!(name.contains("repository: Some(\"false\")"), "{name}");
    }

    #[test]
    fn help_shows_flags_without_values() {
        let refusal = parsed("rbuild images --help").unwrap_err();
        let help = refusal.error.to_string();
        assert_eq!(refusal.code, 0);
        assert!(help.contains("--quiet") && !help.contains("BOOL"), "{help}");
    }

    #[test]
    fn wrong_use_is_told_in_docker_s_words() {
        for (typed, expected) in [
            ("images --nope=1", "unknown flag: --nope\n"),
            ("images -az", "unknown shorthand flag: 'z' in -z\n"),
            ("images -f", "flag needs an argument: 'f' in -f\n"),
            ("images --filter", "flag needs an argument: --filter\n"),
            (
                "rmi --force=maybe x",
                "invalid argument \"maybe\" for \"-f, --force\" flag: strconv.ParseBool: parsing \
                 \"maybe\": invalid syntax\n",
            ),
            (
                "history -H= x",
                "invalid argument \"\" for \"-H, --human\" flag: strconv.ParseBool: parsing \"\": \
                 invalid syntax\n",
            ),
            ("tag a", "rbuild: 'rbuild tag' requires 2 arguments\n"),
            (
                "history a b",
                "rbuild: 'rbuild history' requires 1 argument\n",
            ),
            (
                "image rm",
                "rbuild: 'rbuild image rm' requires at least 1 argument\n",
            ),
            (
                "images a b",
                "rbuild: 'rbuild images' requires at most 1 argument\n",
            ),
            (
                "--root /r system df x",
                "rbuild: 'rbuild system df' accepts no arguments\n",
            ),
            (
                "manifest inspect",
                "rbuild: 'rbuild manifest inspect' requires at least 1 and at most 2 arguments\n",
            ),
            ("image nope", "rbuild: unknown command: rbuild image nope\n"),
        ] {
            let text = parsed(&format!("rbuild {typed}")).unwrap_err().text;
            let text = text.unwrap_or_default();
            assert!(text.starts_with(expected), "{typed}: {text}");
            assert!(text.ends_with(" --help' for more information\n"), "{text}");
        }
        let text = parsed("rbuild tag a").unwrap_err().text.unwrap();
        let usage =
            "\n\nUsage:  rbuild tag [OPTIONS] <SOURCE_IMAGE[:TAG]> <TARGET_IMAGE[:TAG]>\n\n";
        assert!(text.contains(usage), "{text}");
        assert_eq!(parsed("rbuild build --nope .").unwrap_err().text, None);
    }
}
