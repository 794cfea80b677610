//! Limits that an image must keep: dive's rules, from options, from dive's file, or its own.

use std::path::{Path, PathBuf};

use clap::Args;
use rbuild_image::analysis::Analysis;

use crate::environment;
use crate::report::Failure;
use crate::size::parse_size;

/// Where dive looks for rules.
const FILE: &str = ".dive-ci";
/// Longest file of rules, in bytes.
const MAX_FILE: u64 = 1 << 20;

const EFFICIENCY: &str = "lowestEfficiency";
const BYTES: &str = "highestWastedBytes";
const PERCENT: &str = "highestUserWastedPercent";

#[derive(Debug, Args)]
pub(crate) struct LimitArguments {
    /// Fail if the image does not keep the limits; on if CI=true is in the environment
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    ci: Option<bool>,
    /// File with the limits (default: .dive-ci, if it is there)
    #[arg(long, value_name = "FILE")]
    ci_config: Option<PathBuf>,
    /// Least efficiency, 0 to 1, or `disabled` [default: 0.9]
    #[arg(long, visible_alias = "lowestEfficiency", value_name = "RATIO")]
    lowest_efficiency: Option<String>,
    /// Most wasted bytes, e.g. 20MB, or `disabled` [default: disabled]
    #[arg(long, visible_alias = "highestWastedBytes", value_name = "SIZE")]
    highest_wasted_bytes: Option<String>,
    /// Most wasted bytes as a part of what is on the base layer, 0 to 1, or `disabled`
    /// [default: 0.1]
    #[arg(long, visible_alias = "highestUserWastedPercent", value_name = "RATIO")]
    highest_user_wasted_percent: Option<String>,
}

impl LimitArguments {
    /// Returns the limits if they are asked for: options first, then the file, then dive's own.
    pub(super) fn read(&self) -> Result<Option<Limits>, Failure> {
        let in_ci = || {
            environment::variable("CI")
                .is_some_and(|value| matches!(&*value.to_ascii_lowercase(), "1" | "t" | "true"))
        };
        if !self.ci.unwrap_or_else(in_ci) {
            return Ok(None);
        }
        let mut texts = Texts::default();
        if let Some((name, file)) = self.file()? {
            texts.read(&file).map_err(|problem| {
                Failure::with_help(
                    format!("{name}: {problem}"),
                    format!(
                        "the file has `rules:` and below it {EFFICIENCY}, {BYTES} or {PERCENT}"
                    ),
                )
            })?;
        }
        for (option, text) in [
            (&self.lowest_efficiency, &mut texts.efficiency),
            (&self.highest_wasted_bytes, &mut texts.bytes),
            (&self.highest_user_wasted_percent, &mut texts.percent),
        ] {
            if let Some(option) = option {
                text.clone_from(option);
            }
        }
        texts.limits().map(Some).map_err(Failure::Usage)
    }

    /// Returns the name and the text of the file of rules, if there is one.
    fn file(&self) -> Result<Option<(String, String)>, Failure> {
        let path = self.ci_config.as_deref().unwrap_or(Path::new(FILE));
        let size = match fs_err::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error)
                if self.ci_config.is_none() && error.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let name = path.display().to_string();
        if size > MAX_FILE {
            return Err(Failure::message(format!("{name} is too large")));
        }
        Ok(Some((name, fs_err::read_to_string(path)?)))
    }
}

/// Limits as they are written.
#[derive(Debug)]
struct Texts {
    efficiency: String,
    bytes: String,
    percent: String,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            efficiency: "0.9".to_owned(),
            bytes: "disabled".to_owned(),
            percent: "0.1".to_owned(),
        }
    }
}

impl Texts {
    /// Reads what dive's files hold: a map of texts below `rules`, or without it, in YAML. Both
    /// spellings of the rules will do.
    fn read(&mut self, file: &str) -> Result<(), String> {
        for (at, line) in file.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = without_comment(line).trim();
            if line.is_empty() || matches!(line, "---" | "...") {
                continue;
            }
            let bad = |problem: &str| format!("line {}: {problem}", at + 1);
            let (key, value) = line
                .split_once(':')
                .ok_or_else(|| bad("this is no `rule: value`"))?;
            let value = unquoted(value.trim()).ok_or_else(|| bad("a quote is not closed"))?;
            match &*unquoted(key.trim())
                .unwrap_or(key)
                .replace('-', "")
                .to_lowercase()
            {
                "rules" if value.is_empty() => {}
                "lowestefficiency" | "lowestefficiencythreshold" => {
                    value.clone_into(&mut self.efficiency);
                }
                "highestwastedbytes" => value.clone_into(&mut self.bytes),
                "highestuserwastedpercent" => value.clone_into(&mut self.percent),
                _ => return Err(bad("there is no such rule")),
            }
        }
        Ok(())
    }

    fn limits(&self) -> Result<Limits, String> {
        Ok(Limits {
            efficiency: limit(&self.efficiency, EFFICIENCY, parse_ratio)?,
            bytes: limit(&self.bytes, BYTES, parse_size)?,
            percent: limit(&self.percent, PERCENT, parse_ratio)?,
        })
    }
}

/// Returns the line up to a `#` that begins a comment.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        match (quote, character) {
            (None, '#') if before.is_whitespace() => return &line[..at],
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
        before = character;
    }
    line
}

/// Returns a text without the quotes around it; `None` if the second is missing.
fn unquoted(text: &str) -> Option<&str> {
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text[1..].strip_suffix(quote),
        _ => Some(text),
    }
}

/// Reads one limit; `None` if the rule is off.
fn limit<T>(
    text: &str,
    rule: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let text = text.trim();
    let is_off = matches!(&*text.to_lowercase(), "" | "disabled" | "off" | "false");
    if is_off {
        return Ok(None);
    }
    parse(text)
        .map(Some)
        .map_err(|problem| format!("{rule}: {problem}"))
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(format!("`{text}` is not a number from 0 to 1")),
    }
}

/// What an image must keep. Rules that are off are `None`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limits {
    efficiency: Option<f64>,
    bytes: Option<u64>,
    percent: Option<f64>,
}

impl Limits {
    pub(super) fn judge(&self, found: &Analysis<'_>) -> Verdict {
        let (efficiency, wasted) = (found.score.efficiency, found.score.wasted_bytes);
        let ratio = found.user_wasted_ratio();
        let percent = self.percent.map(|limit| {
            (ratio > limit).then(|| {
                format!(
                    "too many bytes wasted, relative to the user bytes added \
                     (%-user-wasted-bytes={ratio} > threshold={limit})"
                )
            })
        });
        let bytes = self.bytes.map(|limit| {
            (wasted > limit).then(|| {
                format!("too many bytes wasted (wasted-bytes={wasted} > threshold={limit})")
            })
        });
        let least = self.efficiency.map(|limit| {
            (efficiency < limit).then(|| {
                format!("image efficiency is too low (efficiency={efficiency} < threshold={limit})")
            })
        });
        Verdict {
            rules: [(PERCENT, percent), (BYTES, bytes), (EFFICIENCY, least)]
                .map(|(name, outcome)| Rule {
                    name,
                    status: match &outcome {
                        None => Status::Skip,
                        Some(None) => Status::Pass,
                        Some(Some(_)) => Status::Fail,
                    },
                    message: outcome.unwrap_or_else(|| Some("rule disabled".to_owned())),
                })
                .into(),
        }
    }
}

/// What became of the rules.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) rules: Vec<Rule>,
}

/// What became of one rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) status: Status,
    pub(super) message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pass,
    Fail,
    Skip,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Skip => "SKIP",
        }
    }
}

impl Verdict {
    pub(super) fn is_pass(&self) -> bool {
        self.count(Status::Fail) == 0
    }

    fn count(&self, status: Status) -> usize {
        self.rules
            .iter()
            .filter(|rule| rule.status == status)
            .count()
    }

    /// Returns the lines that dive ends with, for whoever reads them with a script.
    pub(super) fn render(&self) -> String {
        let rules: String = self
            .rules
            .iter()
            .map(|rule| {
                let status = rule.status.name();
                let message = rule.message.as_ref().map(|text| format!(": {text}"));
                format!("  {status}: {}{}\n", rule.name, message.unwrap_or_default())
            })
            .collect();
        format!(
            "Results:\n{rules}Result:{} [Total:{}] [Passed:{}] [Failed:{}] [Warn:0] [Skipped:{}]\n",
            if self.is_pass() { "PASS" } else { "FAIL" },
            self.rules.len(),
            self.count(Status::Pass),
            self.count(Status::Fail),
            self.count(Status::Skip)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> Result<Limits, String> {
        let mut texts = Texts::default();
        texts.read(file)?;
        texts.limits()
    }

    #[test]
    fn files_of_rules() {
        let limits = |efficiency, bytes, percent| {
            Ok(Limits {
                efficiency,
                bytes,
                percent,
            })
        };
        assert_eq!(read(""), limits(Some(0.9), None, Some(0.1)));
        let dive_s = "rules:\n  # at least\n  lowestEfficiency: 0.95\n\n  highestWastedBytes: 20MB # x\n  \
                      highestUserWastedPercent: 'disabled'\n";
        assert_eq!(read(dive_s), limits(Some(0.95), Some(20_000_000), None));
        let other = "---\nlowest-efficiency: \"1\"\nhighest-wasted-bytes: 1KiB\n";
        assert_eq!(read(other), limits(Some(1.0), Some(1024), Some(0.1)));
        for bad in [
            "rules",
            "rules: 1",
            "speed: 1",
            "lowestEfficiency: 1.1",
            "lowestEfficiency: NaN",
            "lowestEfficiency: '1",
            "highestWastedBytes: lots",
            "- lowestEfficiency: 1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
