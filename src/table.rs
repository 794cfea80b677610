//! Tables of cells.

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
    fn the_last_cell_is_not_padded() {
        let rows = [vec!["a".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["X", "Y"], &rows), "X         Y\na         b\n");
    }
}
