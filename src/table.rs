//! Tables of cells.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::listing::columns;
use crate::progress::clean_text;

/// Lays out rows in columns. Every cell but the last of a row is padded.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = header.join("\t");
    for row in rows {
        text.push('\n');
        // A tab or a line end in a cell would begin another one.
        let cells: Vec<_> = row
            .iter()
            .map(|cell| clean_text(cell).replace(['\t', '\n'], " "))
            .collect();
        text.push_str(&cells.join("\t"));
    }
    text.push('\n');
    columns(&text)
}

/// Columns of the terminal that a long text takes at most.
const LONGEST: usize = 45;

/// Cuts a text that is too long for a list.
pub(crate) fn ellipsis(text: &str) -> String {
    if text.width() <= LONGEST {
        return text.to_owned();
    }
    let mut width = 1;
    let fits = |character: &char| {
        width += character.width().unwrap_or(0);
        width <= LONGEST
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_cells() {
        let rows = [vec![
            "a\u{1b}[2Jb".to_owned(),
            "x\ny\tz\r\u{202e}".to_owned(),
        ]];
        assert_eq!(table(&["X", "Y"], &rows), "X         Y\nab        x y z\n");
    }

    #[test]
    fn long_texts_are_cut() {
        let (fits, long) = ("x".repeat(45), "x".repeat(46));
        assert_eq!(ellipsis(&fits), fits);
        assert_eq!(ellipsis(&long), format!("{}…", "x".repeat(44)));
        assert_eq!(ellipsis(&"日".repeat(23)), format!("{}…", "日".repeat(22)));
    }

    #[test]
    fn the_last_cell_is_not_padded() {
        let rows = [vec!["a".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["X", "Y"], &rows), "X         Y\na         b\n");
    }
}
