use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::node::{Entry, Item, Node, NodeValue, Span};
use super::read::{self, plain};
use crate::config::report::Report;

/// Files that one configuration may include.
const MAX_FILES: usize = 1000;
/// Keys whose maps are joined name by name.
const JOINED: [&str; 5] = ["identity", "clusters", "quotas", "rates", "concurrency"];
/// Keys whose lists are appended.
const APPENDED: [&str; 2] = ["routes", "listen"];

/// Reads what the main file includes and joins it with the main file.
pub fn merge(mut main: Node, report: &mut Report) -> Node {
    let patterns: Vec<(String, Span)> = main
        .entry("include")
        .and_then(|entry| entry.node.items())
        .unwrap_or_default()
        .iter()
        .filter_map(|item| Some((item.node.text()?.value.clone(), item.node.span)))
        .collect();
    let mut read = Vec::new();
    for (pattern, span) in patterns {
        for path in matching(&pattern, span, report) {
            if read.contains(&path) || read.len() == MAX_FILES {
                continue;
            }
            if let Some(part) = included(&path, span, report) {
                join(&mut main, part, report);
            }
            read.push(path);
        }
    }
    main
}

/// The files that a pattern names, sorted. `*` stands for any part of the file's name.
fn matching(pattern: &str, span: Span, report: &mut Report) -> Vec<PathBuf> {
    let folder = report.source(span.file).map(|source| source.folder().to_owned());
    let full = folder.unwrap_or_default().join(pattern);
    let (Some(parent), Some(name)) = (full.parent(), full.file_name().and_then(|n| n.to_str()))
    else {
        report.error_at(span, "include", format!("`{pattern}` names no file"));
        return Vec::new();
    };
    if parent.to_string_lossy().contains('*') {
        report.error_at(
            span,
            "include",
            "`*` may stand only in the file's name, not in a folder's",
        );
        return Vec::new();
    }
    if !name.contains('*') {
        return vec![full];
    }
    let listed = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    report.depends_on(listed);
    match files_in(parent, listed, name) {
        Ok(files) if files.len() <= MAX_FILES => files,
        Ok(_) => {
            report.error_at(span, "include", format!("more than {MAX_FILES} files match"));
            Vec::new()
        }
        Err(error) => {
            let message = match error.kind() {
                io::ErrorKind::NotFound => format!("there is no folder {}", parent.display()),
                _ => format!("the folder {} can't be read: {error}", parent.display()),
            };
            report.error_at(span, "include", message);
            Vec::new()
        }
    }
}

fn files_in(folder: &Path, listed: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(listed)? {
        let name = entry?.file_name();
        // Hidden files are editors' and Kubernetes' own (`..data`).
        if name.to_str().is_some_and(|name| !name.starts_with('.') && matches(pattern, name)) {
            files.push(folder.join(name));
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a name has the form of a pattern in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match name.find(piece) {
            Some(at) => name = name.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    name.ends_with(last)
}

fn included(path: &Path, span: Span, report: &mut Report) -> Option<Node> {
    report.depends_on(path);
    if let Err(error) = fs::metadata(path) {
        let message = format!("{} can't be read: {}", path.display(), plain(&error));
        report.error_at(span, "include", message);
        return None;
    }
    let text = read::read_text(path, report)?;
    let mut part = read::parse(path, &text, read::PART, report)?;
    if let Some(entries) = part.entries_mut() {
        for nested in entries.extract_if(.., |entry| entry.key == "include") {
            report
                .error_at(nested.key_span, "include", "an included file can't include others")
                .hint("name all files in the main file");
        }
    }
    Some(part)
}

fn join(main: &mut Node, part: Node, report: &mut Report) {
    let NodeValue::Map(entries) = part.value else { return };
    for entry in entries {
        let Some(present) = main.entries_mut() else { return };
        let Some(first) = present.iter_mut().find(|known| known.key == entry.key) else {
            present.push(entry);
            continue;
        };
        let key = entry.key.as_str();
        match (&mut first.node.value, entry.node.value) {
            (NodeValue::Map(known), NodeValue::Map(more)) if JOINED.contains(&key) => {
                join_names(key, known, more, report);
            }
            (NodeValue::List(known), NodeValue::List(more)) if APPENDED.contains(&key) => {
                let start = known.len();
                known.extend(
                    more.into_iter().map(|item| Item { index: start + item.index, ..item }),
                );
            }
            _ => twice(key, entry.key_span, first.key_span, report),
        }
    }
}

fn join_names(key: &str, known: &mut Vec<Entry>, more: Vec<Entry>, report: &mut Report) {
    let places: HashMap<String, Span> =
        known.iter().map(|entry| (entry.key.clone(), entry.key_span)).collect();
    for entry in more {
        match places.get(&entry.key) {
            Some(first) => {
                let path = format!("{key}.{}", entry.key);
                twice(&path, entry.key_span, *first, report);
            }
            None => known.push(entry),
        }
    }
}

fn twice(path: &str, again: Span, first: Span, report: &mut Report) {
    let place = report.place_of(first);
    report
        .error_at(again, path, format!("`{path}` is defined twice"))
        .hint(format!("the first definition is at {place}; keep one of them"));
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name) in
            [("*.yaml", "a.yaml"), ("a*b*c", "aXbYc"), ("a*", "a"), ("*", "x"), ("a*b*b", "abb")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.yaml", "a.yml"), ("a*b", "a"), ("a*a", "a"), ("x*", "y"), ("a", "ab")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
