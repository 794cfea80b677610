//! Which rules are wanted, and how much their findings matter.

use std::collections::HashMap;

use rbuild_parser::{
    checks::{hadolint, hadolint::Level, rule},
    suggest,
};

use super::CheckArguments;
use crate::report::Failure;

/// Whose rules are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RuleSet {
    /// All of them
    All,
    /// BuildKit's, as `docker build --check` has them
    Buildkit,
    /// The DL rules
    Hadolint,
}

/// The level of each rule.
#[derive(Debug)]
pub(crate) struct Levels {
    rules: RuleSet,
    /// Levels that were asked for; [`Level::Off`] for rules that are ignored.
    set: HashMap<String, Level>,
}

impl Levels {
    /// Reads the options; a later level of a rule replaces an earlier one, to ignore it goes before
    /// all.
    pub(crate) fn new(options: &CheckArguments) -> Result<Self, Failure> {
        let mut set = HashMap::new();
        let given = [
            (&options.style, Level::Style),
            (&options.info, Level::Info),
            (&options.warning, Level::Warning),
            (&options.error, Level::Error),
            (&options.ignore, Level::Off),
        ];
        for (names, level) in given {
            for name in names {
                check_name(name)?;
                set.insert(name.clone(), level);
            }
        }
        Ok(Self {
            rules: options.rules,
            set,
        })
    }

    /// Returns the level of a rule, `None` if it is not to be heard of. A rule and its twin are
    /// ignored together.
    pub(crate) fn of(&self, code: &str) -> Option<Level> {
        let dl_rule = hadolint::find(code);
        let is_wanted = match self.rules {
            RuleSet::All => true,
            RuleSet::Buildkit => dl_rule.is_none(),
            RuleSet::Hadolint => dl_rule.is_some(),
        };
        let twin_is_off = hadolint::twin(code)
            .filter(|twin| self.set.get(*twin) == Some(&Level::Off))
            .any(|_| dl_rule.is_some() || hadolint::twin(code).count() == 1);
        if !is_wanted || twin_is_off {
            return None;
        }
        let own = dl_rule.map_or(Level::Warning, |rule| rule.level);
        let level = self.set.get(code).copied().unwrap_or(own);
        (level != Level::Off).then_some(level)
    }
}

/// Refuses names of rules that do not exist. Those of ShellCheck may stand in lists that were made
/// for hadolint.
fn check_name(name: &str) -> Result<(), Failure> {
    let is_number = |prefix: &str| {
        let digits = name.strip_prefix(prefix);
        digits.is_some_and(|digits| {
            digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    if rule::find(name).is_some() || is_number("DL") || is_number("SC") {
        return Ok(());
    }
    let names: Vec<&str> = rule::RULES
        .iter()
        .map(|rule| rule.name)
        .chain(hadolint::RULES.iter().map(|rule| rule.name))
        .collect();
    let hint = suggest::nearest(name, &names)
        .map(|near| format!("; did you mean {near}?"))
        .unwrap_or_default();
    Err(Failure::Usage(format!("unknown rule {name}{hint}")))
}
