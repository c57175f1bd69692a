//! What happens to an owner, and what it wants done.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::{Bucket, Offset, Period, Record};
use crate::quota::window::Terms;
use crate::request::UnixMillis;

/// Someone who waits for an answer.
pub trait Waiter {
    /// What it still wants.
    fn wants(&self) -> Wants;
}

/// What a waiter wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wants {
    /// The answer.
    Answer,
    /// No answer: the request was served all the same, and its use must be counted.
    Count,
    /// Nothing: the request is gone.
    Nothing,
}

/// Asks for one use of one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask<T> {
    /// The bucket.
    pub bucket: Bucket,
    /// What the rule demands.
    pub terms: Terms,
    /// Who gets the answer.
    pub waiter: T,
}

/// What happens to an owner.
#[derive(Clone, Debug)]
pub enum Event<T> {
    /// Take the partition. One that owns it, has let go by [`Event::HandOver`] and has nothing
    /// under way claims it anew: whoever waits goes on waiting.
    Claim {
        /// A fresh random number.
        nonce: u128,
    },
    /// The tail delivered a record.
    Read(Offset, Record),
    /// A record is certainly not in the journal.
    NotWritten(Record),
    /// It isn't known whether a record is in the journal, or will be.
    Unsure(Record),
    /// Someone wants to use a bucket.
    Ask(Ask<T>),
    /// A use was served that could not be admitted: count it as soon as that is possible.
    Owe(Bucket, Terms),
    /// An admitted use is given back.
    Refund(Held),
    /// Uses that were admitted and some that are given back, in numbers, by an owner that is none
    /// any more.
    Settle(Held, u64, u64),
    /// An operator sets a bucket's count to zero.
    Reset(Bucket, T),
    /// Close all periods that ended by then.
    Sweep(UnixMillis),
    /// Another gateway is about to take the partition: nothing new is begun, so that nothing is
    /// under way when it does. Should it never come, this gateway goes on after a while.
    HandOver,
    /// The process that replaces this one gets the partition, unless something is under way. By
    /// this name it is known.
    Give(Arc<str>),
    /// That process did not take it after all.
    TakeBack,
    /// Send what gathered.
    Flush,
    /// Time passed.
    Tick,
    /// The tail ended: nothing is read until it is opened again.
    Halt,
}

/// What the owner wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Append this record; report if it fails.
    Append(Record),
    /// Answer someone.
    Answer(T, Answer),
    /// Uses began to gather that nobody waits for: send an [`Event::Flush`] soon.
    Gather,
}

/// The answer to an [`Ask`] or an [`Event::Reset`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Counted; go on.
    Admitted(Held, Standing),
    /// The fold has reached the limit.
    Exceeded(Standing),
    /// The bucket's count is zero.
    Reset,
    /// It can't be said.
    Unavailable(Why),
}

/// Why the owner can't say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It owns nothing now.
    NotOwner,
    /// It isn't known whether the use was recorded.
    Unsure,
    /// The journal did not take the record.
    NotWritten,
    /// The ledger has no room for another count.
    Full,
}

/// An admitted use, by what it can be given back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Its bucket.
    pub bucket: Bucket,
    /// The period that it counts in.
    pub period: Period,
    /// The bucket's round. If an operator resets the bucket, earlier uses can't be given back.
    pub round: u32,
}

/// Where a bucket stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Uses that count.
    pub used: u64,
    /// When more become available.
    pub resets: UnixMillis,
    /// Last offset of the fold that says so.
    pub offset: Offset,
}

/// Both kinds of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Now {
    /// The wall clock: for windows.
    pub wall: UnixMillis,
    /// A clock that never steps: for silence.
    pub steady: Duration,
}

/// What the gateway is to the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Not its owner.
    Out(Out),
    /// It has sent a claim and not read it yet.
    Claiming {
        /// The claim's number.
        nonce: u128,
    },
    /// It has read its claim, and reads on to the mark that it wrote after that.
    Settling {
        /// Offset of its claim.
        epoch: Offset,
    },
    /// Its owner, as far as it has read.
    Owning {
        /// Offset of its claim.
        epoch: Offset,
    },
}

/// Where a partition's uses are counted, as far as this gateway has read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// By this gateway.
    Here,
    /// By another one.
    There {
        /// Its name: what it called itself in its claim.
        owner: Arc<str>,
        /// Offset of that claim.
        epoch: Offset,
    },
    /// By nobody yet.
    Nowhere,
}

/// Why a gateway is not the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Out {
    /// It never asked.
    Idle,
    /// Its claim was not written, or not read back in time.
    ClaimFailed,
    /// It isn't known whether a write happened.
    WriteFailed,
    /// It read nothing back for too long.
    Silent,
    /// It can't read the partition.
    Halted,
    /// It read a newer claim.
    Superseded,
    /// It read a newer claim after it had let go for that.
    HandedOver,
}

/// What an owner keeps within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// With a write on its way and nothing read for this long, it no longer owns.
    pub silence: Duration,
    /// How long it begins nothing new while it hands the partition over.
    pub hand_over: Duration,
    /// Counts in the ledger from which on no new use is taken.
    pub entries: usize,
}
