//! Tables, sizes and ages as Docker prints them.

use unicode_width::UnicodeWidthStr as _;

/// Smallest width of a column, and the blanks after its longest cell.
const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Lays out rows in columns. Every cell but the last of a row is padded.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut out = String::new();
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        for (place, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if place + 1 < row.len() {
                let width = (widths[place] + PADDING).max(MIN_WIDTH);
                out.extend(std::iter::repeat_n(' ', width - cell.width()));
            }
        }
        out.push('\n');
    }
    out
}

/// A size in bytes with three digits and decimal units: `1.23kB`.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", three_digits(value), UNITS[unit])
}

/// Go's `%.3g` for values from 0 to 1000.
fn three_digits(value: f64) -> String {
    if value >= 999.5 {
        return "1e+03".to_owned();
    }
    let n_integer_digits = if value >= 99.95 {
        3
    } else if value >= 9.995 {
        2
    } else {
        1
    };
    let text = format!("{value:.*}", 3 - n_integer_digits);
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

    #[test]
    fn the_last_cell_is_not_padded() {
        let rows = [vec!["a".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["X", "Y"], &rows), "X         Y\na         b\n");
    }
}
