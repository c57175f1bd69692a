use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Versions of one name that are kept: while a reload goes on, requests with the old parameters
/// and with the new ones are in progress at once, and must not restart each other's counts.
const VERSIONS: usize = 2;

/// Counts by a limit's name and parameters. Reading takes no lock; a name or parameters that are
/// new copy the map, which happens once after a reload.
pub(super) struct Registry<P, C> {
    names: ArcSwap<Names<P, C>>,
}

/// Newest version first.
type Names<P, C> = HashMap<Arc<str>, Vec<Arc<Version<P, C>>>>;

struct Version<P, C> {
    parameters: Arc<P>,
    counts: C,
}

impl<P, C> Default for Registry<P, C> {
    fn default() -> Self {
        Self { names: ArcSwap::from_pointee(HashMap::new()) }
    }
}

impl<P: PartialEq, C> Registry<P, C> {
    /// Does something with the counts of a limit; makes them if they aren't there.
    pub fn with<R>(
        &self,
        name: &Arc<str>,
        parameters: &Arc<P>,
        make: impl Fn(&P) -> C,
        act: impl FnOnce(&C) -> R,
    ) -> R {
        let names = self.names.load();
        match find(&names, name, parameters) {
            Some(version) => act(&version.counts),
            None => act(&self.insert(name, parameters, make).counts),
        }
    }

    fn insert(
        &self,
        name: &Arc<str>,
        parameters: &Arc<P>,
        make: impl Fn(&P) -> C,
    ) -> Arc<Version<P, C>> {
        let made = Arc::new(Version { parameters: parameters.clone(), counts: make(parameters) });
        let mut used = made.clone();
        self.names.rcu(|names| {
            // Another thread may have been first: then its counts are the ones.
            if let Some(theirs) = find(names, name, parameters) {
                used = theirs.clone();
                return names.clone();
            }
            used = made.clone();
            let mut names = Names::clone(names);
            let versions = names.entry(name.clone()).or_default();
            versions.insert(0, made.clone());
            versions.truncate(VERSIONS);
            Arc::new(names)
        });
        used
    }
}

fn find<'n, P: PartialEq, C>(
    names: &'n Names<P, C>,
    name: &str,
    parameters: &Arc<P>,
) -> Option<&'n Arc<Version<P, C>>> {
    names.get(name)?.iter().find(|version| {
        Arc::ptr_eq(&version.parameters, parameters) || version.parameters == *parameters
    })
}
