//! Texts of `history[].created_by`, in Go's formatting where BuildKit uses it.

use std::fmt::Write as _;

use rbuild_image::config::{Healthcheck, History};
use rbuild_parser::quote::quote;

/// The remark on every line of a build.
const COMMENT: &str = "buildkit.dockerfile.v0";
/// The mark on lines of instructions that made a layer of files.
const LAYER_MARK: &str = " # buildkit";

/// Returns a line of an instruction that makes no layer.
pub(crate) fn empty(text: String) -> History {
    History {
        created_by: Some(text),
        comment: Some(COMMENT.to_owned()),
        empty_layer: true,
        ..History::default()
    }
}

/// Returns a line of a `RUN`, `COPY` or `ADD`.
pub(crate) fn layer(mut text: String) -> History {
    text.push_str(LAYER_MARK);
    History {
        empty_layer: false,
        ..empty(text)
    }
}

/// Returns a line of a `WORKDIR`, which has a layer but no mark.
pub(crate) fn workdir(text: String) -> History {
    History {
        empty_layer: false,
        ..empty(text)
    }
}

/// Returns a `RUN`'s text: the declared arguments with their values, then the process.
pub(crate) fn run_text<'a>(
    args: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    argv: &[String],
) -> String {
    let mut text = String::from("RUN");
    if args.len() > 0 {
        append(&mut text, format_args!(" |{}", args.len()));
        for (name, value) in args {
            append(&mut text, format_args!(" {name}={value}"));
        }
    }
    text.push(' ');
    text.push_str(&argv.join(" "));
    text
}

/// Returns `INSTRUCTION k=v k2=v2`.
pub(crate) fn pairs_text(instruction: &str, pairs: &[(String, String)]) -> String {
    let mut text = instruction.to_owned();
    for (key, value) in pairs {
        append(&mut text, format_args!(" {key}={value}"));
    }
    text
}

/// Returns `INSTRUCTION [a b]`.
pub(crate) fn list_text(instruction: &str, words: &[String]) -> String {
    format!("{instruction} [{}]", words.join(" "))
}

/// Returns `INSTRUCTION ["a" "b c"]`, quoted as Go quotes.
pub(crate) fn quoted_text(instruction: &str, words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
    list_text(instruction, &words)
}

/// Returns `HEALTHCHECK {Test:[…] Interval:5s …}`.
pub(crate) fn healthcheck_text(check: &Healthcheck) -> String {
    format!(
        "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        check.test.as_deref().unwrap_or_default().join(" "),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries,
    )
}

/// Formats nanoseconds as Go does: `0s`, `1.5ms`, `2m0s`, `1h0m0.5s`.
fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let (unit, name) = match total {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (whole, rest) = (total / unit, total % unit);
    let mut text = String::from(sign);
    let mut last = whole;
    if name == "s" && whole >= 60 {
        if whole >= 3600 {
            append(&mut text, format_args!("{}h", whole / 3600));
        }
        append(&mut text, format_args!("{}m", whole / 60 % 60));
        last = whole % 60;
    }
    append(&mut text, format_args!("{last}"));
    if rest > 0 {
        let n_digits = unit.ilog10() as usize;
        let digits = format!("{rest:0n_digits$}");
        append(&mut text, format_args!(".{}", digits.trim_end_matches('0')));
    }
    text.push_str(name);
    text
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (nanoseconds, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (5_000_000_000, "5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_001_000_000, "1h1m1.001s"),
            (-2_000_000, "-2ms"),
        ] {
            assert_eq!(duration(nanoseconds), expected);
        }
    }

    #[test]
    fn run_lists_its_arguments() {
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), "x".to_owned()];
        assert_eq!(run_text([].into_iter(), &argv), "RUN /bin/sh -c x");
        assert_eq!(
            run_text([("Q", ""), ("B", "2")].into_iter(), &argv),
            "RUN |2 Q= B=2 /bin/sh -c x"
        );
    }
}
