//! The options of `rbuild check`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use rbuild_parser::checks::hadolint::Level;

use super::RuleSet;

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Path of a Dockerfile, `-` for standard input; may be given several times
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// How findings are printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: CheckFormat,
    /// Whose rules are looked at
    #[arg(long, value_name = "SET", default_value = "all")]
    pub(crate) rules: RuleSet,
    /// Correct what can be corrected without a change of what is built
    #[arg(long)]
    pub(crate) fix: bool,
    /// With --fix or --diff: correct more, even if that may change what is built
    #[arg(long)]
    pub(crate) unsafe_fixes: bool,
    /// Print what would be corrected instead of findings, and write nothing
    #[arg(long)]
    pub(crate) diff: bool,
    /// Do not report these rules
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) ignore: Vec<String>,
    /// Report these rules as errors
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) error: Vec<String>,
    /// Report these rules as warnings
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) warning: Vec<String>,
    /// Report these rules as remarks
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) info: Vec<String>,
    /// Report these rules as matters of style
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) style: Vec<String>,
    /// Least level of a finding that makes the command fail
    #[arg(short = 't', long, value_name = "LEVEL", default_value = "info")]
    pub(crate) failure_threshold: Threshold,
    /// Dockerfiles, or folders with one; `-` for standard input (default: the current folder)
    #[arg(value_name = "PATH|-")]
    pub(crate) paths: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// Excerpts of the file
    Text,
    /// A JSON array
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Commands for the log of GitHub Actions
    Github,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Threshold {
    /// Errors
    Error,
    /// Warnings and errors
    Warning,
    /// All but matters of style
    Info,
    /// All
    Style,
    /// Never fail
    #[value(alias = "ignore")]
    None,
}

impl Threshold {
    /// Tells whether a finding of this level makes the command fail.
    pub(crate) fn is_reached(self, level: Level) -> bool {
        match self {
            Self::Error => level >= Level::Error,
            Self::Warning => level >= Level::Warning,
            Self::Info => level >= Level::Info,
            Self::Style => level >= Level::Style,
            Self::None => false,
        }
    }
}
