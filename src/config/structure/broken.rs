use std::collections::BTreeSet;
use std::ops::Bound;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;

use crate::config::source::{Node, NodeValue};

/// Sections whose members stand on their own, so that one broken member leaves the others.
const DIVISIBLE: [&str; 7] =
    ["listen", "identity", "clusters", "rates", "concurrency", "quotas", "routes"];

/// What parts a path.
const SEPARATORS: [char; 2] = ['.', '['];

/// What the form check has found broken. Further checks say nothing that only follows from it.
#[derive(Debug, Default)]
pub struct Broken {
    /// Places whose value was taken out or replaced, as in `routes[2].match.methods[0]`.
    holes: BTreeSet<String>,
    sections: BTreeSet<String>,
    members: BTreeSet<(String, String)>,
    unknown: BTreeSet<String>,
}

impl Broken {
    /// Notes a place whose value is no longer what was written.
    pub fn hole(&mut self, path: &str) {
        self.holes.insert(path.to_owned());
    }

    /// Notes what an error concerns: to be taken out whole.
    pub fn note(&mut self, error: &ValidationError<'_>, root: &Node) {
        let path = error.instance_path();
        let mut segments = path.segments().map(|segment| segment.to_string());
        match (segments.next(), segments.next(), error.kind()) {
            (None, _, ValidationErrorKind::AdditionalProperties { unexpected }) => {
                self.unknown.extend(unexpected.iter().cloned());
            }
            // A section that is missing altogether.
            (None, _, _) => {}
            // Names of the wrong form do no further harm.
            (Some(_), None, ValidationErrorKind::PropertyNames { .. }) => {}
            (Some(section), Some(member), _) if DIVISIBLE.contains(&section.as_str()) => {
                let items = root.entry(&section).and_then(|entry| entry.node.items());
                let item = items.and_then(|items| items.get(member.parse::<usize>().ok()?));
                let member = item.map_or(member, |item| item.index.to_string());
                self.members.insert((section, member));
            }
            (Some(section), _, _) => {
                self.sections.insert(section);
            }
        }
    }

    /// Takes what was noted out of the tree.
    pub fn remove_from(&self, root: &mut Node) {
        let Some(entries) = root.entries_mut() else { return };
        entries.retain(|entry| {
            !self.unknown.contains(&entry.key) && !self.sections.contains(&entry.key)
        });
        for entry in entries {
            let is_broken = |member: String| self.members.contains(&(entry.key.clone(), member));
            match &mut entry.node.value {
                NodeValue::List(items) => items.retain(|item| !is_broken(item.index.to_string())),
                NodeValue::Map(members) => members.retain(|member| !is_broken(member.key.clone())),
                _ => {}
            }
        }
    }

    /// Whether a section is not there although it was written, perhaps misspelt.
    pub fn section(&self, section: &str) -> bool {
        self.sections.contains(section) || self.holes.contains(section)
    }

    /// Whether a name was taken out, or may have been.
    pub fn name(&self, section: &str, name: &str) -> bool {
        self.section(section)
            || self.members.contains(&(section.to_owned(), name.to_owned()))
            || self.holes.contains(&format!("{section}.{name}"))
    }

    /// Names of a section that were taken out.
    pub fn names<'b>(&'b self, section: &'b str) -> impl Iterator<Item = &'b str> + Clone {
        let whole = self.members.iter().filter(move |(of, _)| of == section);
        let holes = self.below(section).filter_map(move |path| {
            let name = path.strip_prefix(section)?.strip_prefix('.')?;
            (!name.contains(SEPARATORS)).then_some(name)
        });
        whole.map(|(_, name)| name.as_str()).chain(holes)
    }

    /// Whether the value at a place is not all of what was written: a hole is there, around it or
    /// in it.
    pub fn touches(&self, path: &str) -> bool {
        let around = path.match_indices(SEPARATORS).filter_map(|(at, _)| path.get(..at));
        self.holes.contains(path)
            || around.into_iter().any(|around| self.holes.contains(around))
            || self.below(path).next().is_some()
    }

    /// Whether a problem at a place may only follow from a hole: one there, around it or in it, or
    /// one beside it. The keys of an item of a section have little to do with each other; where
    /// they have, the check asks for itself.
    pub fn affects(&self, path: &str) -> bool {
        if self.holes.is_empty() || path.is_empty() {
            return false;
        }
        let parent = path.rfind(SEPARATORS).and_then(|at| path.get(..at));
        let beside = |parent: &str| !is_item(parent) && self.below(parent).next().is_some();
        self.touches(path) || parent.is_some_and(beside)
    }

    fn below<'b>(&'b self, path: &str) -> impl Iterator<Item = &'b str> + Clone + use<'b> {
        let starts = SEPARATORS.map(|separator| format!("{path}{separator}"));
        starts.into_iter().flat_map(|start| {
            let from =
                self.holes.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
            from.take_while(move |hole| hole.starts_with(&start)).map(String::as_str)
        })
    }
}

/// Whether a place is an item of a section that is made of items, or a part of a composition.
fn is_item(path: &str) -> bool {
    let (section, item) = path.split_once(SEPARATORS).unwrap_or((path, ""));
    let part = item.split_once("].compose.parts.").map(|(_, part)| part);
    let name = part.unwrap_or(item);
    DIVISIBLE.contains(&section) && !name.is_empty() && !name.contains(SEPARATORS)
}
