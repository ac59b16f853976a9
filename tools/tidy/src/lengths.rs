//! Lengths: of a file, of a function, of a line.
//!
//! A function is counted from the line of its `fn` to the line of its closing brace, both
//! included; nested functions count for themselves and for the one around them.

use crate::source::Source;
use crate::violation::Report;

const FILE_LINES_MAX: usize = 800;
const FILE_LINES_HINT: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Checks the three lengths of one Rust file.
pub(crate) fn check(source: &Source, report: &mut Report) {
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        let remedy = format!("{lines} lines: split it, {FILE_LINES_MAX} is the end");
        report.violation(&source.path, FILE_LINES_MAX + 1, "file-length", remedy);
    } else if lines > FILE_LINES_HINT {
        report.hint(&source.path, format!("{lines} lines: does it still tell one thing?"));
    }

    for (index, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            let remedy = format!("{columns} columns: break the line at {COLUMNS_MAX}");
            report.violation(&source.path, index + 1, "columns", remedy);
        }
    }

    for function in functions(&source.code) {
        if function.lines > FUNCTION_LINES_MAX {
            let remedy = format!(
                "`{}` has {} lines: split it, {FUNCTION_LINES_MAX} fit on a screen",
                function.name, function.lines
            );
            report.violation(&source.path, function.line, "function-length", remedy);
        }
    }
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Finds every function that has a body in code without comments and literals.
fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let bytes = code.as_bytes();
    for (at, _) in code.match_indices("fn ") {
        let is_word_start = at == 0 || !is_identifier(bytes[at - 1]);
        let name: String = code[at + 3..]
            .chars()
            .take_while(|character| character.is_alphanumeric() || *character == '_')
            .collect();
        if !is_word_start || name.is_empty() {
            continue;
        }
        let Some(end) = body_end(&code[at..]) else { continue };
        functions.push(Function {
            name,
            line: code[..at].matches('\n').count() + 1,
            lines: code[at..at + end].matches('\n').count() + 1,
        });
    }
    functions
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where the body of the function that begins `code` ends; `None` when it has no body.
fn body_end(code: &str) -> Option<usize> {
    let mut braces = 0_usize;
    // Parentheses and brackets of the signature: a `;` inside is a length, not the end.
    let mut nesting = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            '(' | '[' => nesting += 1,
            ')' | ']' => nesting = nesting.saturating_sub(1),
            ';' if braces == 0 && nesting == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::violation::broken;

    fn function_of(body_lines: usize, line: &str) -> String {
        format!("fn long(a: [u8; 4]) {{\n{}}}\n", format!("{line}\n").repeat(body_lines))
    }

    #[test]
    fn a_file_over_800_lines_is_too_long() {
        assert_eq!(broken(check, "src/a.rs", &"\n".repeat(801)), [(801, "file-length")]);
        assert_eq!(broken(check, "src/a.rs", &"\n".repeat(800)), []);
    }

    #[test]
    fn a_file_over_500_lines_gets_a_hint_only() {
        let mut report = Report::default();
        check(&Source::new("src/a.rs", &"\n".repeat(501)), &mut report);
        assert_eq!((report.hints.len(), report.violations.len()), (1, 0));
    }

    #[test]
    fn a_line_over_100_columns_is_too_long_and_characters_count_not_bytes() {
        assert_eq!(broken(check, "a.rs", &format!("\n//{}", "x".repeat(99))), [(2, "columns")]);
        assert_eq!(broken(check, "a.rs", &format!("//{}", "é".repeat(98))), []);
    }

    #[test]
    fn a_function_over_70_lines_is_too_long() {
        assert_eq!(broken(check, "a.rs", &function_of(69, "a();")), [(1, "function-length")]);
        assert_eq!(broken(check, "a.rs", &function_of(68, "a();")), []);
    }

    #[test]
    fn braces_in_strings_characters_and_comments_end_no_function() {
        for line in ["let a = \"}\";", "let a = '}';", "// }", "let a = r#\"}\"#;"] {
            let text = function_of(69, line);
            assert_eq!(broken(check, "a.rs", &text), [(1, "function-length")], "{line}");
        }
    }

    #[test]
    fn two_short_functions_and_a_declaration_are_not_one_long_function() {
        let text = format!("fn declared(a: [u8; 2]);\n{0}{0}", function_of(60, "a();"));
        assert_eq!(broken(check, "a.rs", &text), []);
    }
}
