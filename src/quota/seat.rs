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
    answer: Awaited,
    partition: Arc<Partition>,
}

enum Awaited {
    /// It was there at once.
    Here(Option<Answer>),
    Later(oneshot::Receiver<Answer>, About),
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
    (seat, Pending { answer: Awaited::Later(receiver, about), partition: Arc::clone(partition) })
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
    /// One whose answer is there.
    pub fn answered(partition: &Arc<Partition>, answer: Answer) -> Self {
        Self { answer: Awaited::Here(Some(answer)), partition: Arc::clone(partition) }
    }

    /// The answer; `None` if there is none by then.
    pub async fn answer(&mut self, deadline: Instant) -> Option<Answer> {
        match &mut self.answer {
            Awaited::Here(answer) => answer.take(),
            Awaited::Later(answer, _) => timeout_at(deadline, answer).await.ok()?.ok(),
        }
    }

    /// The request is served without an answer: its use stays, or is counted later.
    pub fn count_later(self) {
        if let Awaited::Later(_, about) = &self.answer {
            about.served.store(true, Ordering::Release);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        match &mut self.answer {
            // Nobody took it.
            Awaited::Here(Some(Answer::Admitted(held, _))) => {
                self.partition.step([Event::Refund(held.clone())]);
            }
            Awaited::Here(_) => {}
            Awaited::Later(answer, about) => {
                answer.close();
                // It may have come after the last look.
                if let Ok(answer) = answer.try_recv() {
                    about.undelivered(&self.partition, answer);
                }
            }
        }
    }
}
