use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

use super::MAX_PROBLEMS;
use super::excerpt::Excerpt;
use super::mask;
use super::problem::{Problem, Problems};
use super::source::Span;

/// Bytes of a line around a place that can be part of an excerpt.
const NEAR: usize = 1000;

/// A file that was read.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its path as it was given, for messages.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
    /// First byte of each line.
    lines: Vec<usize>,
    /// Bytes that are never shown, in order.
    hidden: Vec<Range<usize>>,
}

impl Source {
    /// Takes a file's text.
    pub fn new(path: &Path, text: &str) -> Self {
        let starts =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self {
            path: path.to_owned(),
            name: path.display().to_string(),
            text: text.into(),
            lines: std::iter::once(0).chain(starts).collect(),
            hidden: mask::secrets_in(text),
        }
    }

    /// The folder to which relative paths in this file relate; empty is the working folder.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Number of the line, from 1, and its bytes.
    fn line_at(&self, byte: usize) -> (usize, Range<usize>) {
        let number = self.lines.partition_point(|start| *start <= byte).max(1);
        let start = self.lines.get(number - 1).copied().unwrap_or(0);
        let end = self.lines.get(number).map_or(self.text.len(), |next| next - 1);
        (number, start..end.max(start))
    }

    /// The text of these bytes with secrets as asterisks.
    fn shown(&self, bytes: Range<usize>) -> String {
        let offset = bytes.start;
        let line = self.text.get(bytes).unwrap_or_default();
        let is_hidden = |at: usize| {
            let after = self.hidden.partition_point(|range| range.start <= at);
            after.checked_sub(1).and_then(|i| self.hidden.get(i)).is_some_and(|r| r.contains(&at))
        };
        line.char_indices().map(|(at, c)| if is_hidden(offset + at) { '*' } else { c }).collect()
    }

    fn place(&self, span: Span) -> Place {
        let (line, bytes) = self.line_at(span.start);
        // Only what is meant is looked at: the line may have megabytes, and a thousand problems.
        let meant = self.text.get(span.start..span.end.min(bytes.end)).unwrap_or_default();
        let end = span.start + meant.trim_end().len();
        let from = self.characters(bytes.start..span.start);
        let to = from + self.characters(span.start..end);
        let near = self.near(span.start, &bytes);
        let before = self.characters(near.start..span.start);
        let cut = (near.start > bytes.start, near.end < bytes.end);
        let excerpt = Excerpt::of(&self.shown(near), before, before + (to - from), cut);
        Place { line, from, to, excerpt }
    }

    fn characters(&self, bytes: Range<usize>) -> usize {
        self.text.get(bytes).map_or(0, |text| text.chars().count())
    }

    /// The part of a line around a place: a line can have megabytes.
    fn near(&self, at: usize, line: &Range<usize>) -> Range<usize> {
        let mut start = at.saturating_sub(NEAR).max(line.start);
        let mut end = at.saturating_add(NEAR).min(line.end).max(start);
        while !self.text.is_char_boundary(start) {
            start += 1;
        }
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        start..end
    }
}

struct Place {
    line: usize,
    from: usize,
    to: usize,
    excerpt: Excerpt,
}

/// Collects what is wrong, so that a user sees all of it at once.
#[derive(Debug, Default)]
pub struct Report {
    sources: Vec<Source>,
    /// In the order of reading; the set knows them too, since there may be very many.
    files: Vec<PathBuf>,
    known_files: HashSet<PathBuf>,
    /// Digests of files that are not YAML: secrets, keys, certificates.
    others: Vec<Vec<u8>>,
    found: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Places about which enough is said.
    settled: HashSet<Span>,
    /// Those beyond [`MAX_PROBLEMS`]: a megabyte of nonsense must not become a gigabyte of help.
    more: usize,
    spare: Problem,
}

impl Report {
    /// Adds a file; what it holds is named by the index.
    pub fn add_source(&mut self, source: Source) -> usize {
        self.sources.push(source);
        self.sources.len() - 1
    }

    /// A file by its index.
    pub fn source(&self, file: usize) -> Option<&Source> {
        self.sources.get(file)
    }

    /// All files of YAML.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Notes that the configuration depends on a file or folder.
    pub fn depends_on(&mut self, path: impl Into<PathBuf>) {
        let path = path.into();
        if self.known_files.insert(path.clone()) {
            self.files.push(path);
        }
    }

    /// Notes the content of a file that is not YAML. Only its digest is kept.
    pub fn content(&mut self, bytes: &[u8]) {
        self.others.push(digest::digest(&digest::SHA256, bytes).as_ref().to_vec());
    }

    /// Digests of the files that are not YAML, in the order of reading.
    pub fn others(&self) -> &[Vec<u8>] {
        &self.others
    }

    /// What the configuration depends on so far.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The line, from 1, in which something begins.
    pub fn line_of(&self, span: Span) -> usize {
        self.source(span.file).map_or(0, |source| source.line_at(span.start).0)
    }

    /// The file and line in which something begins, as `bank.yaml:12`.
    pub fn place_of(&self, span: Span) -> String {
        let name = self.source(span.file).map_or("", |source| &source.name);
        format!("{name}:{}", self.line_of(span))
    }

    /// How much was found so far.
    pub fn count(&self) -> usize {
        self.found.len().saturating_add(self.more)
    }

    /// Notes a problem at a place; `path` is where that is in the configuration.
    pub fn error_at(&mut self, span: Span, path: &str, message: impl Into<String>) -> &mut Problem {
        if self.settled.contains(&span) {
            return &mut self.spare;
        }
        if self.is_full() {
            self.count_more(1);
            return &mut self.spare;
        }
        let problem = self.placed(span, path, message.into());
        self.keep(problem)
    }

    /// Notes what should be seen to, though nothing is wrong yet: it is no problem, and does not
    /// count as one.
    pub fn warning_at(
        &mut self,
        span: Span,
        path: &str,
        message: impl Into<String>,
    ) -> &mut Problem {
        if self.warnings.len() >= MAX_PROBLEMS {
            return &mut self.spare;
        }
        let warning = Problem { warning: true, ..self.placed(span, path, message.into()) };
        self.warnings.push(warning);
        self.warnings.last_mut().unwrap_or(&mut self.spare)
    }

    /// What should be seen to.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    fn placed(&self, span: Span, path: &str, message: String) -> Problem {
        let path = path.to_owned();
        let mut problem = Problem { message, path, file_index: span.file, ..Problem::default() };
        if let Some(source) = self.sources.get(span.file) {
            let place = source.place(span);
            problem.file.clone_from(&source.name);
            problem.line = place.line;
            problem.column = place.from + 1;
            problem.end_column = place.to.max(place.from + 1) + 1;
            problem.excerpt = Some(place.excerpt);
        }
        problem
    }

    /// A problem that nobody will see, for who says nothing.
    pub fn nothing(&mut self) -> &mut Problem {
        &mut self.spare
    }

    /// Whether more problems are only counted.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MAX_PROBLEMS
    }

    /// Counts problems that there is no need to describe.
    pub fn count_more(&mut self, problems: usize) {
        self.more = self.more.saturating_add(problems);
    }

    /// Further problems at a place would only follow from one that is noted.
    pub fn settle(&mut self, span: Span) {
        self.settled.insert(span);
    }

    /// Notes a problem with a file as a whole.
    pub fn error_with_file(&mut self, path: &Path, message: impl Into<String>) -> &mut Problem {
        let file = path.display().to_string();
        self.keep(Problem { file, message: message.into(), ..Problem::default() })
    }

    fn keep(&mut self, problem: Problem) -> &mut Problem {
        if self.is_full() {
            self.count_more(1);
            return &mut self.spare;
        }
        self.found.push(problem);
        self.found.last_mut().unwrap_or(&mut self.spare)
    }

    /// Ends the collecting.
    pub fn into_problems(self) -> Problems {
        Problems::new(self.found, self.more, self.files)
    }
}
