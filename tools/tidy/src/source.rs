//! A source file, split into what is code and what is comment.
//!
//! The split is a lexer for the few things that can hide a brace or a word: line comments, nested
//! block comments, strings, raw strings, byte and C strings, characters. It knows no grammar.
//! What a newcomer gets wrong: `'a'` is a character and `'a` a lifetime, and `r#type` is not a
//! raw string.

use std::fs;
use std::io;
use std::path::Path;

/// The folders that the rules look at.
const FOLDERS: [&str; 4] = ["src", "tests", "benches", "tools"];

/// What else lies at the top level and is text.
const TOP_FILES: [&str; 4] = ["Cargo.toml", "Makefile", "README.md", ".ci/run"];

/// What counts as text.
const EXTENSIONS: [&str; 7] = ["rs", "md", "toml", "py", "sh", "yml", "service"];

/// One file of the workspace.
#[derive(Debug)]
pub struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    /// As it stands in the file.
    pub text: String,
    /// The same characters line for line, with comments and the contents of literals blank.
    /// The same as `text` where the file is not Rust.
    pub code: String,
    /// The same lines with everything but comments blank. As `text` where the file is not Rust.
    pub comments: String,
}

impl Source {
    /// Splits `text`, which lies at `path`.
    pub fn new(path: &str, text: &str) -> Self {
        let (code, comments) = if path.ends_with(".rs") {
            Splitter::new(text).split()
        } else {
            (text.to_owned(), text.to_owned())
        };
        Self { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    /// Is it Rust?
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Is it test code by its place: an integration test, or a module of unit tests?
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// The crate's folder below `src/`, such as `wire`; `None` outside `src/`.
    pub fn crate_folder(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split_once('/').map(|(folder, _)| folder)
    }
}

/// Reads every text file that the rules look at, in the order of their paths.
pub(crate) fn read_all(root: &Path) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in FOLDERS {
        read_folder(root, folder, &mut sources)?;
    }
    for path in TOP_FILES {
        if root.join(path).exists() {
            sources.push(Source::new(path, &fs::read_to_string(root.join(path))?));
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_folder(root: &Path, folder: &str, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{folder}/{name}");
        if entry.file_type()?.is_dir() {
            // Build products and fuzzing corpora are nobody's prose.
            if !matches!(name.as_str(), "target" | "corpus" | "artifacts" | "golden") {
                read_folder(root, &path, sources)?;
            }
        } else if is_text(&name) {
            sources.push(Source::new(&path, &fs::read_to_string(entry.path())?));
        }
    }
    Ok(())
}

fn is_text(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

/// Walks over the characters once and sends each to `code`, to `comments`, or to neither.
struct Splitter {
    characters: Vec<char>,
    at: usize,
    code: String,
    comments: String,
}

impl Splitter {
    fn new(text: &str) -> Self {
        Self {
            characters: text.chars().collect(),
            at: 0,
            code: String::with_capacity(text.len()),
            comments: String::with_capacity(text.len()),
        }
    }

    fn split(mut self) -> (String, String) {
        while let Some(character) = self.peek(0) {
            match (character, self.peek(1)) {
                ('/', Some('/')) => self.line_comment(),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', _) => self.quote(),
                _ if character.is_alphabetic() || character == '_' => self.word(),
                _ => self.take_code(),
            }
        }
        (self.code, self.comments)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    fn take_code(&mut self) {
        let character = self.characters[self.at];
        self.code.push(character);
        self.comments.push(if character == '\n' { '\n' } else { ' ' });
        self.at += 1;
    }

    fn take_comment(&mut self) {
        let character = self.characters[self.at];
        self.comments.push(character);
        self.code.push(if character == '\n' { '\n' } else { ' ' });
        self.at += 1;
    }

    /// Takes what lies inside a literal: blank on both sides.
    fn take_blank(&mut self) {
        let blank = if self.peek(0) == Some('\n') { '\n' } else { ' ' };
        self.code.push(blank);
        self.comments.push(blank);
        self.at += 1;
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|character| character != '\n') {
            self.take_comment();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.peek(0).is_some() {
            let step = match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => 1,
                (Some('*'), Some('/')) => -1,
                _ => 0,
            };
            self.take_comment();
            if step != 0 {
                self.take_comment();
                depth += step;
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.take_code();
        while let Some(character) = self.peek(0) {
            match character {
                '"' => return self.take_code(),
                '\\' if self.peek(1).is_some() => {
                    self.take_blank();
                    self.take_blank();
                }
                _ => self.take_blank(),
            }
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        (0..=hashes).for_each(|_| self.take_code());
        while let Some(character) = self.peek(0) {
            if character == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                return (0..=hashes).for_each(|_| self.take_code());
            }
            self.take_blank();
        }
    }

    /// A character literal, or the tick of a lifetime or label.
    fn quote(&mut self) {
        let is_escape = self.peek(1) == Some('\\');
        let is_character = self.peek(2) == Some('\'') && self.peek(1) != Some('\'');
        self.take_code();
        if is_escape {
            self.take_blank();
            if self.peek(0).is_some() {
                self.take_blank();
            }
        }
        if is_escape || is_character {
            while self.peek(0).is_some_and(|character| character != '\'') {
                self.take_blank();
            }
            if self.peek(0).is_some() {
                self.take_code();
            }
        }
    }

    /// A word, and the raw string that it may open. `b"` and `b'` need no care of their own.
    fn word(&mut self) {
        let mut word = String::new();
        while let Some(character) = self.peek(0).filter(|c| c.is_alphanumeric() || *c == '_') {
            word.push(character);
            self.take_code();
        }
        if matches!(word.as_str(), "r" | "br" | "cr") {
            let hashes = (0..).take_while(|ahead| self.peek(*ahead) == Some('#')).count();
            if self.peek(hashes) == Some('"') {
                self.raw_string(hashes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source;

    fn code(text: &str) -> String {
        Source::new("a.rs", text).code
    }

    #[test]
    fn comments_are_not_code() {
        assert_eq!(code("a // }\nb /* { /* } */ { */ c"), "a     \nb                   c");
        assert_eq!(Source::new("a.rs", "a // b").comments, "  // b");
    }

    #[test]
    fn the_contents_of_literals_are_not_code() {
        assert_eq!(code(r#"("{ \" {", b"}", c"}")"#), r#"("      ", b" ", c" ")"#);
        assert_eq!(code(r##"r#"{ " {"# }"##), r##"r#"     "# }"##);
        assert_eq!(code(r"('{', '\'', b'}', '\u{7d}')"), r"(' ', '  ', b' ', '      ')");
    }

    #[test]
    fn lifetimes_labels_and_raw_identifiers_are_code() {
        assert_eq!(
            code("fn f<'a>(x: &'a str) { 'l: loop {} }"),
            "fn f<'a>(x: &'a str) { 'l: loop {} }"
        );
        assert_eq!(code("r#type { }"), "r#type { }");
    }

    #[test]
    fn an_unclosed_literal_or_comment_ends_with_the_file() {
        for text in ["\"{", "r#\"{", "/* {", "'\\", "'"] {
            assert_eq!(code(text).chars().count(), text.chars().count(), "{text}");
        }
    }
}
