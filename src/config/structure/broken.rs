use std::collections::BTreeSet;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;

use crate::config::source::{Node, NodeValue};

/// Sections whose members stand on their own, so that one broken member leaves the others.
const DIVISIBLE: [&str; 7] =
    ["listen", "identity", "clusters", "rates", "concurrency", "quotas", "routes"];

/// What the form check has found broken. Further checks neither see it nor complain that it is
/// missing.
#[derive(Debug, Default)]
pub struct Broken {
    sections: BTreeSet<String>,
    members: BTreeSet<(String, String)>,
    unknown: BTreeSet<String>,
}

impl Broken {
    /// Notes what an error concerns.
    pub fn note(&mut self, error: &ValidationError<'_>) {
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

    /// Whether a section was taken out.
    pub fn section(&self, section: &str) -> bool {
        self.sections.contains(section)
    }

    /// Whether a name was taken out, or may have been.
    pub fn name(&self, section: &str, name: &str) -> bool {
        self.sections.contains(section)
            || self.members.contains(&(section.to_owned(), name.to_owned()))
    }
}
