use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Check;
use crate::config::nearest::suggestion;
use crate::config::raw::Fields;
use crate::config::spot::Spot;

/// Problems beyond which nobody is told what may have been meant: each search goes through all
/// names there are.
const MAX_HINTED: usize = 100;

/// Things that are referred to by name.
pub(super) struct Named<T> {
    section: &'static str,
    /// `None`: the name is there, but what it stands for is wrong.
    known: BTreeMap<Arc<str>, Option<Arc<T>>>,
}

impl<T> Named<T> {
    /// Checks every member of a section.
    pub fn new<R>(
        section: &'static str,
        raw: &Fields<R>,
        root: &Spot<'_>,
        check: &mut Check<'_>,
        one: impl Fn(&Arc<str>, &R, &Spot<'_>, &mut Check<'_>) -> Option<T>,
    ) -> Self {
        let place = root.key(section);
        let known = raw
            .iter()
            .enumerate()
            .map(|(position, (name, raw))| {
                let name: Arc<str> = name.into();
                let made = one(&name, raw, &place.member(position), check);
                (name, made.map(Arc::new))
            })
            .collect();
        Self { section, known }
    }

    /// What a name stands for. A name that stands for nothing is reported.
    pub fn find(&self, name: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<Arc<T>> {
        if let Some(found) = self.known.get(name) {
            return found.clone();
        }
        if !check.broken.name(self.section, name) {
            let section = self.section;
            let message = format!("{} is not defined in `{section}`", at.quoted());
            if check.report.count() >= MAX_HINTED {
                check.error(at, message);
                return None;
            }
            let known = self.known.keys().map(|name| &**name).chain(check.broken.names(section));
            let hint = suggestion(name, known);
            check.error(at, message).hint(hint.unwrap_or_else(|| format!("`{section}` is empty")));
        }
        None
    }

    /// What several names stand for, and where each is written. A name that comes twice is
    /// reported.
    pub fn find_all<'t>(
        &self,
        names: &[String],
        at: &Spot<'t>,
        check: &mut Check<'_>,
    ) -> Vec<(Spot<'t>, Arc<T>)> {
        let mut found = Vec::with_capacity(names.len());
        let mut seen = HashSet::with_capacity(names.len());
        for (position, name) in names.iter().enumerate() {
            let place = at.item(position);
            if !seen.insert(name) {
                check.error(&place, format!("`{name}` is here twice"));
            } else if let Some(it) = self.find(name, &place, check) {
                found.push((place, it));
            }
        }
        found
    }

    /// Everything that is right, by name.
    pub fn into_all(self) -> BTreeMap<Arc<str>, Arc<T>> {
        self.known.into_iter().filter_map(|(name, made)| Some((name, made?))).collect()
    }
}
