use std::collections::HashMap;
use std::sync::Arc;

use super::event::{ChangeEvent, ClassTag, class_tag};
use crate::config::model::Route;
use crate::vault::layout::{RouteTag, route_tag};
use crate::vault::table::ChangedKey;

/// Which classes of data the answers of routes show, where their routes say so. Answers of all
/// other routes may show anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::vault) struct DataClasses(HashMap<RouteTag, Vec<ClassTag>>);

/// Stands for any change of an account.
const ANY: ClassTag = [0; 16];
/// Stands for changes that may be of anything.
const WHOLE: ClassTag = [1; 16];

fn changed_key(account: &[u8; 16], class: &ClassTag) -> ChangedKey {
    let mut key = [0; 32];
    key.iter_mut().zip(account.iter().chain(class)).for_each(|(to, from)| *to = *from);
    key
}

impl DataClasses {
    pub(in crate::vault) fn of(routes: &[Arc<Route>]) -> Self {
        let named = routes.iter().filter_map(|route| {
            let classes = &route.cache.as_ref()?.data_classes;
            let tags: Vec<_> = classes.iter().map(|class| class_tag(class)).collect();
            (!tags.is_empty()).then(|| (route_tag(&route.id), tags))
        });
        Self(named.collect())
    }

    /// Routes whose answers a change does not touch.
    pub(super) fn spared(&self, change: &ChangeEvent) -> Arc<[RouteTag]> {
        let Some(class) = change.class else { return Arc::default() };
        let others = self.0.iter().filter(|(_, classes)| !classes.contains(&class));
        others.map(|(route, _)| *route).collect()
    }

    /// Under which keys a change is noted.
    pub(super) fn keys_of_change(change: &ChangeEvent) -> [ChangedKey; 2] {
        let account = change.account.as_bytes();
        [changed_key(account, &ANY), changed_key(account, &change.class.unwrap_or(WHOLE))]
    }

    /// Under which keys a change that touches an answer would be noted.
    pub(super) fn keys_of_answer(
        &self,
        account: &[u8; 16],
        route: Option<RouteTag>,
    ) -> Vec<ChangedKey> {
        match route.and_then(|route| self.0.get(&route)) {
            None => vec![changed_key(account, &ANY)],
            Some(classes) => {
                let classes = classes.iter().chain([&WHOLE]);
                classes.map(|class| changed_key(account, class)).collect()
            }
        }
    }
}
