use std::collections::HashMap;
use std::sync::Arc;

use super::entries::LabelId;
use crate::journal::Label;

/// Numbers for labels. Millions of accounts share a few labels, so each label's text stands here
/// once; it goes when its last entry does.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels {
    ids: HashMap<Arc<Label>, LabelId>,
    /// By number less one; the second part counts entries.
    known: Vec<Option<(Arc<Label>, usize)>>,
    free: Vec<LabelId>,
}

impl Labels {
    pub fn find(&self, label: &Label) -> Option<LabelId> {
        self.ids.get(label).copied()
    }

    pub fn name(&self, id: LabelId) -> Option<&Arc<Label>> {
        self.known.get(index(id))?.as_ref().map(|(label, _)| label)
    }

    /// The number of a label; a new one if it has none.
    pub fn enter(&mut self, label: &Arc<Label>) -> LabelId {
        if let Some(id) = self.find(label) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.known.push(None);
            let count = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
            LabelId::new(count).unwrap_or(LabelId::MAX)
        });
        if let Some(place) = self.known.get_mut(index(id)) {
            *place = Some((Arc::clone(label), 0));
        }
        self.ids.insert(Arc::clone(label), id);
        id
    }

    /// Notes that a label's entries grew by so many, and forgets a label without entries.
    pub fn grew(&mut self, id: LabelId, by: isize) {
        let Some(place) = self.known.get_mut(index(id)) else { return };
        let Some((label, entries)) = place else { return };
        *entries = entries.saturating_add_signed(by);
        if *entries == 0 {
            self.ids.remove(label);
            *place = None;
            self.free.push(id);
        }
    }
}

fn index(id: LabelId) -> usize {
    id.get() as usize - 1
}
