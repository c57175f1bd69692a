use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use super::excerpt::Excerpt;

/// One thing that is wrong with a configuration, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as its path was given.
    pub file: String,
    /// Line, from 1; 0 if the file as a whole is meant.
    pub line: usize,
    /// Column of the first character meant, from 1.
    pub column: usize,
    /// Column behind the last character meant.
    pub end_column: usize,
    /// What is wrong. Never contains a secret.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the configuration, as in `routes[2].cache.fresh`; empty for the whole.
    pub path: String,
    /// The line itself, secrets hidden.
    #[serde(skip)]
    pub(super) excerpt: Option<Excerpt>,
    /// Order in which the files were read.
    #[serde(skip)]
    pub(super) file_index: usize,
    /// It should be seen to, but nothing is wrong yet.
    #[serde(skip)]
    pub(super) warning: bool,
}

impl Problem {
    /// Adds what to do about it.
    pub(super) fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }

    fn place(&self) -> (usize, usize, usize) {
        (self.file_index, self.line, self.column)
    }

    fn render(&self, out: &mut String) -> fmt::Result {
        let severity = if self.warning { "warning" } else { "error" };
        writeln!(out, "{severity}: {}", self.message)?;
        let margin = self.line.max(1).to_string().len();
        match (self.line, &self.excerpt) {
            (0, _) | (_, None) => writeln!(out, "{:margin$}--> {}", "", self.file)?,
            (line, Some(excerpt)) => {
                let (file, column) = (&self.file, self.column);
                writeln!(out, "{:margin$}--> {file}:{line}:{column}", "")?;
                writeln!(out, "{:margin$} |", "")?;
                writeln!(out, "{}", format!("{line} | {}", excerpt.line).trim_end())?;
                let marks = "^".repeat(excerpt.length);
                writeln!(out, "{:margin$} | {:from$}{marks}", "", "", from = excerpt.from)?;
            }
        }
        match &self.hint {
            Some(hint) => writeln!(out, "{:margin$} = help: {hint}", ""),
            None => Ok(()),
        }
    }
}

/// For people: its line, what is meant underlined, and a hint.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.render(&mut text)?;
        f.write_str(&text)
    }
}

/// Everything that is wrong with a configuration, in the order of its files and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Problem>,
    more: usize,
    files: Vec<PathBuf>,
}

impl Problems {
    /// Sorts what was found; `more` were found but not kept, `files` were read or looked for.
    pub(super) fn new(mut found: Vec<Problem>, more: usize, files: Vec<PathBuf>) -> Self {
        found.sort_by(|a, b| match a.place().cmp(&b.place()) {
            Ordering::Equal => a.message.cmp(&b.message),
            order => order,
        });
        found.dedup();
        Self { found, more, files }
    }

    /// The problems; at most [`super::MAX_PROBLEMS`].
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// How many there are, those left out of [`Problems::iter`] included.
    pub fn count(&self) -> usize {
        self.found.len().saturating_add(self.more)
    }

    /// The files that were read or looked for: a watch on them sees the correction.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Adds the problems of another configuration.
    pub(super) fn extend(&mut self, other: Self) {
        self.found.extend(other.found);
        self.more = self.more.saturating_add(other.more);
        self.files.extend(other.files);
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// For programs: a list of `{file, line, column, end_column, message, hint, path}`.
    pub fn to_json(&self) -> Value {
        json!(self.found)
    }
}

/// For people: each problem with its line, what is meant underlined, and a hint.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for problem in &self.found {
            problem.render(&mut text)?;
            text.push('\n');
        }
        match (self.count(), self.more) {
            (1, _) => text.push_str("1 problem\n"),
            (count, 0) => writeln!(text, "{count} problems")?,
            (count, more) => writeln!(text, "{count} problems, {more} of them not shown")?,
        }
        f.write_str(&text)
    }
}

impl std::error::Error for Problems {}
