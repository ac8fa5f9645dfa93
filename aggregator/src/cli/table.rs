//! Rows in columns, for a person. Numbers to the right, text to the left.

use bytesize::ByteSize;

/// Lines of columns that are as wide as they must be; the header first. A column
/// is right-aligned if all its cells are numbers.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let column = |index: usize| rows.iter().map(move |row| row[index].as_str());
    let columns: Vec<(usize, bool)> = header
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let width = column(index).map(|cell| cell.chars().count()).max().unwrap_or(0);
            let is_number = !rows.is_empty() && column(index).all(is_number);
            (width.max(name.chars().count()), is_number)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells
            .zip(&columns)
            .map(
                |(cell, &(width, is_number))| {
                    if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                },
            )
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

fn is_number(cell: &str) -> bool {
    cell == "-" || cell.parse::<f64>().is_ok()
}

/// Bytes in binary units, as in the config.
pub fn bytes(count: u64) -> String {
    ByteSize(count).display().iec().to_string()
}

/// A number with `digits` digits after the point; a dash if there is none.
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["digits", "12", "running"]), row(["a", "-", "ok"])];
        assert_eq!(
            table(&["ID", "ROUND", "S"], &rows),
            "ID      ROUND  S\ndigits     12  running\na           -  ok\n"
        );
        assert_eq!(table(&["ID", "ROUND"], &[]), "ID  ROUND\n");
    }

    #[test]
    fn bytes_are_binary() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(256 << 20), "256.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }
}
