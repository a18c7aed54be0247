//! A table, as a terminal shows it and as docs/bench.md does.

/// A table: a title, a head, and rows.
pub struct Table {
    pub title: &'static str,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// With spaces, for a terminal.
    pub fn plain(&self) -> String {
        let head: Vec<String> = self.head.iter().map(|cell| (*cell).to_owned()).collect();
        let all = || std::iter::once(&head).chain(&self.rows);
        let width = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..head.len()).map(width).collect();
        let mut out = format!("{}\n", self.title);
        for row in all() {
            let cells = row.iter().zip(&widths);
            let line: Vec<_> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            out += line.join("  ").trim_end();
            out.push('\n');
        }
        out
    }

    /// For docs/bench.md.
    pub fn markdown(&self) -> String {
        let columns = self.head.len();
        let mut out = format!("### {}\n\n| {} |\n", self.title, self.head.join(" | "));
        out += &format!("|{}\n", "---|".repeat(columns));
        for row in &self.rows {
            let mut cells: Vec<&str> = row.iter().map(String::as_str).collect();
            cells.resize(columns, "");
            out += &format!("| {} |\n", cells.join(" | "));
        }
        out
    }
}
