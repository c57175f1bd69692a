use std::sync::Arc;

use super::ledger::BucketUse;
use super::owner::{Place, Role};
use super::partition::Partition;
use super::window::Terms;
use crate::config::model::QuotaRule;
use crate::journal::{Label, Offset};
use crate::observe::ClaimReason;
use crate::request::UnixMillis;

/// One bucket, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketView {
    /// The rule.
    pub rule: Arc<str>,
    /// The values of its key other than the account, as in `client=budget-app`; empty if there
    /// are none.
    pub dimensions: String,
    /// Uses that count now.
    pub used: u64,
    /// Uses allowed; `None` if the configuration no longer has the rule.
    pub limit: Option<u64>,
    /// When more uses become available; without the rule, when the last count ends.
    pub resets: UnixMillis,
}

impl BucketView {
    /// `None` if nothing counts now.
    pub(super) fn of(
        label: &Label,
        counted: BucketUse<'_>,
        rules: &[Arc<QuotaRule>],
        now: UnixMillis,
    ) -> Option<Self> {
        let at = now.max(counted.floor());
        let rule = rules.iter().find(|rule| rule.name == label.rule);
        let (used, limit, resets) = match rule.map(|rule| Terms::of(rule)) {
            Some(terms) => {
                let used = terms.used(counted.periods(), at);
                (used, Some(terms.limit), terms.resets(counted.periods(), at))
            }
            None => {
                let live = counted.periods().filter(|(period, _)| period.ends > at);
                let used = live.fold(0u64, |sum, (_, uses)| sum.saturating_add(uses));
                (used, None, counted.ends())
            }
        };
        let dimensions = label.dimensions.to_string();
        (used > 0).then(|| Self { rule: Arc::clone(&label.rule), dimensions, used, limit, resets })
    }
}

/// One partition, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Its number.
    pub partition: u32,
    /// What this gateway is to it.
    pub role: Role,
    /// Where its uses are counted.
    pub place: Place,
    /// Whether all that was there when reading began has been read.
    pub replayed: bool,
    /// When and why this gateway claimed it last.
    pub claimed: Option<(UnixMillis, ClaimReason)>,
    /// Who made the newest claim.
    pub owner: Option<Arc<str>>,
    /// Offset of that claim.
    pub epoch: Option<Offset>,
    /// First offset not read.
    pub next: Offset,
    /// Accounts with counts.
    pub accounts: usize,
    /// Counts: one for each bucket, period and epoch.
    pub entries: usize,
    /// Periods that ended by then are closed.
    pub horizon: UnixMillis,
    /// Records on their way.
    pub outstanding: usize,
    /// What last went wrong, if it doesn't own the partition.
    pub error: Option<String>,
}

impl PartitionView {
    pub(super) fn of(partition: &Partition) -> Self {
        let owner = partition.owner();
        let ledger = owner.ledger();
        let claim = ledger.claim();
        let owning = matches!(owner.role(), Role::Owning { .. });
        let error = if owning { None } else { partition.error() };
        Self {
            partition: partition.number,
            role: owner.role(),
            place: partition.place_now(),
            replayed: partition.is_replayed(),
            claimed: partition.claimed(),
            owner: claim.map(|(_, claim)| Arc::clone(&claim.owner)),
            epoch: claim.map(|(epoch, _)| epoch),
            next: ledger.next(),
            accounts: ledger.accounts(),
            entries: ledger.entries(),
            horizon: ledger.horizon(),
            outstanding: owner.outstanding(),
            error: error.map(|error| error.to_string()),
        }
    }
}
