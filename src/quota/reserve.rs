//! Reserving uses for a request, all or none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::charge::Charge;
use super::others::SUCCESSOR;
use super::owner::{Answer, Place, Why};
use super::partition::Partition;
use super::reservation::{Reservation, count, exceeded};
use super::service::Quotas;
use crate::observe::{Metrics, QuotaOutcome};
use crate::request::Refusal;

/// Asking for the uses of one partition: here, the process that takes over, and here again if it
/// does not.
const MOST_TRIES: u32 = 4;
/// Nothing was counted, and somebody else can be asked.
const NOT_THERE: Answer = Answer::Unavailable(Why::NotOwner);

/// What to do about a use that this gateway can't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Nobody else could count it either: the rule's `unavailable` decides.
    Decide,
    /// If another gateway has the partition now, say so: it can count it.
    Report,
    /// If another gateway has the partition now, ask it.
    Ask,
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReserved {
    /// The request stops here.
    Refused(Refusal),
    /// This gateway is not the owner of this partition, or no longer.
    Elsewhere {
        /// The partition.
        partition: u32,
    },
}

impl From<Refusal> for NotReserved {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Quotas {
    /// Reserves one use for each charge, all or none.
    ///
    /// Charges of one partition (so all rules on one account) are asked for at once; partitions
    /// one after the other in the order of their numbers. If one refuses, what the others gave is
    /// given back. In between, other requests see those uses: near its limit a bucket may refuse
    /// one of two requests that would both have gone through had they come one after the other.
    /// It never admits one too many.
    ///
    /// # Errors
    /// [`Refusal::QuotaExceeded`], or [`Refusal::QuotaUnavailable`] where a rule says
    /// `unavailable: deny`; with [`Lack::Report`] also [`NotReserved::Elsewhere`]. A use whose
    /// record was on its way when another gateway took the partition may then count twice: one
    /// too few is admitted, never one too many.
    pub async fn reserve(
        &self,
        charges: &[Charge],
        lack: Lack,
    ) -> Result<Reservation, NotReserved> {
        let mut reservation = Reservation::empty(Arc::clone(&self.metrics));
        let mut groups: BTreeMap<u32, (&Arc<Partition>, Vec<&Charge>)> = BTreeMap::new();
        for charge in charges {
            let Some(partition) = self.partition_of(&charge.account()) else { continue };
            let (_, group) = groups.entry(partition.number).or_insert((partition, Vec::new()));
            group.push(charge);
        }
        if charges.len() > 1 {
            // Spares buckets that have room a use and a refund when another has none.
            for (partition, group) in groups.values() {
                refuse_exceeded(partition, group, &self.metrics)?;
            }
        }
        let first = charges.first().map(|charge| self.partition_number(&charge.account()));
        for (number, (partition, group)) in groups {
            let is_first = first == Some(number);
            let taken = self.reserve_group(&mut reservation, partition, &group, is_first, lack);
            if let Err(refusal) = taken.await {
                reservation.refund();
                return Err(refusal);
            }
        }
        reservation.complete();
        Ok(reservation)
    }

    /// Charges of one partition. A request is at the owner of its first account; uses of others that
    /// are another gateway's are asked for there.
    async fn reserve_group(
        &self,
        reservation: &mut Reservation,
        partition: &Arc<Partition>,
        group: &[&Charge],
        is_first: bool,
        lack: Lack,
    ) -> Result<(), NotReserved> {
        let may_ask = !is_first || lack == Lack::Ask;
        let mut asked = Asked { moved: group.to_vec(), refusal: None };
        // More than once only while another process takes over, or does not after all.
        for _ in 0..MOST_TRIES {
            let charges = std::mem::take(&mut asked.moved);
            let owner = match partition.place_now() {
                Place::There { owner, .. } if may_ask || *owner == *SUCCESSOR => Some(owner),
                _ => None,
            };
            match owner.filter(|owner| self.others.reaches(owner)) {
                Some(owner) => {
                    let answers = self.reserve_elsewhere(&owner, &charges).await;
                    asked.note_there(reservation, partition, &owner, charges, answers);
                }
                None => {
                    asked
                        .ask_here(reservation, partition, charges, self.patience.answer, lack)
                        .await;
                }
            }
            if asked.moved.is_empty() {
                break;
            }
        }
        for charge in std::mem::take(&mut asked.moved) {
            asked.note(reservation.take(partition, charge, NOT_THERE));
        }
        asked.refusal.map_or(Ok(()), Err)
    }
}

/// Charges of one partition on their way.
struct Asked<'c> {
    /// Not counted, and to be asked for where the partition is now.
    moved: Vec<&'c Charge>,
    refusal: Option<NotReserved>,
}

impl<'c> Asked<'c> {
    fn note(&mut self, taken: Result<(), NotReserved>) {
        if let Err(refusal) = taken {
            self.refusal.get_or_insert(refusal);
        }
    }

    fn note_there(
        &mut self,
        reservation: &mut Reservation,
        partition: &Arc<Partition>,
        owner: &str,
        charges: Vec<&'c Charge>,
        answers: Vec<Answer>,
    ) {
        for (charge, answer) in charges.into_iter().zip(answers) {
            if answer == NOT_THERE && owner == SUCCESSOR && !partition.is_given() {
                self.moved.push(charge);
            } else {
                self.note(reservation.take(partition, charge, answer));
            }
        }
    }

    async fn ask_here(
        &mut self,
        reservation: &mut Reservation,
        partition: &Arc<Partition>,
        charges: Vec<&'c Charge>,
        within: Duration,
        lack: Lack,
    ) {
        let deadline = Instant::now() + within;
        let asks = charges.iter().map(|charge| (charge.bucket().clone(), *charge.terms()));
        let asked = partition.ask(asks);
        for (charge, mut pending) in charges.into_iter().zip(asked) {
            let answer = pending.answer(deadline).await;
            if answer == Some(NOT_THERE) && partition.is_given() {
                self.moved.push(charge);
            } else {
                self.note(reservation.take_in(partition, charge, pending, answer, lack));
            }
        }
    }
}

fn refuse_exceeded(
    partition: &Arc<Partition>,
    charges: &[&Charge],
    metrics: &Metrics,
) -> Result<(), Refusal> {
    if partition.is_given() {
        // What this process knows is of the past.
        return Ok(());
    }
    let now = partition.wall();
    let owner = partition.owner();
    for charge in charges {
        let standing = owner.standing(charge.bucket(), charge.terms(), now);
        // What is being given back may make room: asked, the owner waits for that.
        if standing.used >= charge.terms().limit && !owner.gives_back(charge.bucket()) {
            count(metrics, charge.rule(), QuotaOutcome::Exceeded);
            return Err(exceeded(partition, charge, standing));
        }
    }
    Ok(())
}
