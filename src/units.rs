//! Sizes and ages as Docker prints them.

/// A size in bytes with three digits and decimal units: `1.23kB`.
pub(crate) fn human_size(bytes: u64) -> String {
    scaled(bytes, 3)
}

/// A size in bytes with four digits and decimal units: `1.234kB`.
pub(crate) fn human_size_4(bytes: u64) -> String {
    scaled(bytes, 4)
}

fn scaled(bytes: u64, n_digits: usize) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", general(value, n_digits), UNITS[unit])
}

/// Go's `%.3g` or `%.4g` for values from 0 to 1000.
fn general(value: f64, n_digits: usize) -> String {
    let scientific = format!("{value:.*e}", n_digits - 1);
    let exponent = scientific
        .rsplit_once('e')
        .map_or("0", |(_, exponent)| exponent);
    let n_before = exponent.parse::<usize>().map_or(1, |exponent| exponent + 1);
    if n_before > n_digits {
        return "1e+03".to_owned();
    }
    let text = format!("{value:.*}", n_digits - n_before);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// How long ago something was: `2 hours ago`.
pub(crate) fn human_age(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let text = match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    };
    format!("{text} ago")
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "recorded ages are small")]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_docker_s() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (9999, "10kB"),
            (12345, "12.3kB"),
            (99950, "100kB"),
            (999_500, "1e+03kB"),
            (1_982_298, "1.98MB"),
            (187_000_000, "187MB"),
            (1_000_000_000_000, "1TB"),
        ] {
            assert_eq!(human_size(bytes), expected);
        }
    }

    /// What was recorded of Docker's own functions; below `$RBUILD_SHARED`, or beside the checkout.
    #[test]
    fn recorded_units() {
        let shared = std::env::var_os("RBUILD_SHARED").map_or_else(
            || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
            std::path::PathBuf::from,
        );
        let Ok(text) = fs_err::read_to_string(shared.join("images-data/human-units.txt")) else {
            eprintln!("skipped: no recorded units (set RBUILD_SHARED)");
            return;
        };
        let mut n_lines = 0;
        for line in text.lines() {
            let (given, expected) = line.split_once(" -> ").unwrap();
            n_lines += 1;
            if let Some(seconds) = given.strip_suffix('s') {
                let seconds: f64 = seconds.parse().unwrap();
                assert_eq!(human_age(seconds as i64), expected, "{line}");
                continue;
            }
            let bytes = given.parse().unwrap();
            let sizes: Vec<_> = expected.split(" | ").collect();
            assert_eq!(human_size(bytes), sizes[0], "{line}");
            assert_eq!(human_size_4(bytes), sizes[1], "{line}");
        }
        assert!(n_lines > 40);
    }

    #[test]
    fn ages_are_docker_s() {
        for (seconds, expected) in [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (119, "About a minute ago"),
            (3599, "59 minutes ago"),
            (5399, "About an hour ago"),
            (5400, "2 hours ago"),
            (170_640, "47 hours ago"),
            (171_360, "2 days ago"),
            (1_209_600, "2 weeks ago"),
            (5_184_000, "2 months ago"),
            (63_072_000, "2 years ago"),
        ] {
            assert_eq!(human_age(seconds), expected, "{seconds}");
        }
    }
}
