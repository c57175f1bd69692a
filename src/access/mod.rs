//! Access: may this caller use this route.

mod check;

pub use check::check;
