//! Results on stdout: a table for people, JSON for scripts.
//!
//! Text may change its spacing; JSON keeps its names.

use std::io::Write;

use serde_json::Value;

use crate::failure::Failure;

/// Writes the one or the other.
pub(crate) fn print(
    json: bool,
    value: &Value,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let output = if json { format!("{value}\n") } else { text() };
    std::io::stdout().write_all(output.as_bytes()).map_err(|error| Failure::of_output(&error))
}

pub(crate) fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A table whose columns stand below each other.
pub(crate) fn aligned(table: &[Vec<String>]) -> String {
    let count = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        table.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in table {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<String>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_without_trailing_blanks() {
        let table = [columns(&["A", "LONG"]), columns(&["wide", "x"])];
        assert_eq!(aligned(&table), "A     LONG\nwide  x\n");
    }
}
