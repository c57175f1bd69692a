//! Quotas: how much of an account may be used, counted exactly.
//!
//! [`Quotas::reserve`] charges a request before its backend is called; the [`Reservation`] is
//! settled when the answer is known. Underneath, from the bottom up: [`Ledger`] folds a journal
//! partition; [`Owner`] is the state machine that owns one and admits; `partition` runs it on the
//! journal's tail. Ledger and owner are pure and know neither journal nor clock.

mod charge;
mod claims;
mod errand;
mod gatherer;
mod giving;
mod ledger;
mod local;
mod others;
mod owner;
mod partition;
mod remote;
mod reservation;
mod reserve;
mod seat;
mod service;
mod view;
mod whereabouts;
mod window;

#[cfg(test)]
mod tests;

pub use charge::Charge;
pub use ledger::{BucketUse, Ledger};
pub use others::Successor;
pub use owner::{
    Answer, Ask, Bounds, Effect, Event, Held, Now, Out, Owner, Place, Role, Standing, Waiter,
    Wants, Why,
};
pub use reservation::{End, Reservation};
pub use reserve::{Lack, NotReserved};
pub use service::{Patience, QuotaError, Quotas};
pub use view::{BucketView, PartitionView};
pub use window::{EXACT_LIMIT, EXACT_PERIODS, Frame, SUB_WINDOWS, Terms};
