use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::owner::{Answer, Event, Waiter, Wants, Why};
use super::partition::Partition;
use super::window::Terms;
use crate::journal::Bucket;

/// A request's place in an owner's queue.
pub(super) struct Seat {
    answer: oneshot::Sender<Answer>,
    about: About,
}

/// The request's side of a [`Seat`]. Dropped, it lets go of the use.
pub(super) struct Pending {
    answer: oneshot::Receiver<Answer>,
    partition: Arc<Partition>,
    about: About,
}

#[derive(Clone)]
struct About {
    /// Set once the request was served without an answer.
    served: Arc<AtomicBool>,
    /// What it uses; nothing for an operator's call.
    uses: Option<(Bucket, Terms)>,
}

/// Both sides.
pub(super) fn seat(partition: &Arc<Partition>, uses: Option<(Bucket, Terms)>) -> (Seat, Pending) {
    let (sender, receiver) = oneshot::channel();
    let about = About { served: Arc::default(), uses };
    let seat = Seat { answer: sender, about: about.clone() };
    (seat, Pending { answer: receiver, partition: Arc::clone(partition), about })
}

impl Seat {
    pub fn deliver(self, partition: &Arc<Partition>, answer: Answer) {
        if let Err(answer) = self.answer.send(answer) {
            self.about.undelivered(partition, answer);
        }
    }
}

impl About {
    fn served(&self) -> bool {
        self.served.load(Ordering::Acquire)
    }

    /// A use for a request that is gone is given back; a request that was served without an answer
    /// is counted, unless it may have been counted already.
    fn undelivered(&self, partition: &Arc<Partition>, answer: Answer) {
        match (answer, self.served(), &self.uses) {
            (Answer::Admitted(held, _), false, _) => partition.step([Event::Refund(held)]),
            (Answer::Unavailable(Why::Unsure), _, _) => {}
            (Answer::Exceeded(_) | Answer::Unavailable(_), true, Some((bucket, terms))) => {
                partition.step([Event::Owe(bucket.clone(), *terms)]);
            }
            _ => {}
        }
    }
}

impl Waiter for Seat {
    fn wants(&self) -> Wants {
        if self.about.served() {
            Wants::Count
        } else if self.answer.is_closed() {
            Wants::Nothing
        } else {
            Wants::Answer
        }
    }
}

impl Pending {
    /// The answer; `None` if there is none by then.
    pub async fn answer(&mut self, deadline: Instant) -> Option<Answer> {
        timeout_at(deadline, &mut self.answer).await.ok()?.ok()
    }

    /// The request is served without an answer: its use stays, or is counted later.
    pub fn count_later(self) {
        self.about.served.store(true, Ordering::Release);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.answer.close();
        // It may have come after the last look.
        if let Ok(answer) = self.answer.try_recv() {
            self.about.undelivered(&self.partition, answer);
        }
    }
}
