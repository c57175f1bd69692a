use super::ledger::Ledger;
use super::owner::{Held, Standing};
use super::window::Terms;
use crate::journal::{Bucket, Horizon, Offset, Record, Use};
use crate::request::UnixMillis;

/// Counts kept here at most, in each partition.
const MOST_ENTRIES: usize = 65_536;
/// All is counted by one process for itself, as in one epoch.
const EPOCH: Offset = 0;

/// What a rule with `unavailable: local` counts while the journal can't: in this process's memory,
/// and looked at only then. The owner is told of it when it can be.
#[derive(Debug, Default)]
pub(super) struct Local(Ledger);

impl Local {
    /// Counts one use on top of what the journal's fold last said, if the limit allows it.
    pub fn take(
        &mut self,
        bucket: &Bucket,
        terms: &Terms,
        fold: Standing,
        now: UnixMillis,
    ) -> Result<(Held, Standing), Standing> {
        if self.0.entries() >= MOST_ENTRIES {
            self.0.apply(0, &Record::Horizon(Horizon { epoch: EPOCH, ended: now }));
        }
        let counted = self.0.bucket(bucket);
        let at = now.max(counted.floor()).max(self.0.horizon());
        let used = terms.used(counted.periods(), at).saturating_add(fold.used);
        let standing = Standing { used, resets: terms.resets(counted.periods(), at), ..fold };
        if used >= terms.limit || self.0.entries() >= MOST_ENTRIES {
            return Err(standing);
        }
        let period = terms.period(at, counted.len());
        let held = Held { bucket: bucket.clone(), period, round: 0 };
        self.add(&held, 1, 0);
        Ok((held, Standing { used: used.saturating_add(1), ..standing }))
    }

    /// Gives a use back.
    pub fn refund(&mut self, held: &Held) {
        self.add(held, 0, 1);
    }

    fn add(&mut self, held: &Held, uses: u64, refunds: u64) {
        let (admitted, refunded) = self.0.bucket(&held.bucket).counted(held.period, EPOCH);
        let used = Use {
            bucket: held.bucket.clone(),
            period: held.period,
            round: held.round,
            epoch: EPOCH,
            admitted: admitted.saturating_add(uses),
            refunded: refunded.saturating_add(refunds),
        };
        self.0.apply(0, &Record::Use(used));
    }
}
