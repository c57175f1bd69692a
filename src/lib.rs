//! Tollgate: an API gateway that counts use per account, exactly, at the first hop.
//!
//! The modules stand in the order in which a request meets them.
#![forbid(unsafe_code)]
#![deny(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

// What people and operators touch.
pub mod admin;
pub mod cli;

// The spine: everything below is called from here.
pub mod gateway;

// The stages, in request order.
pub mod listener;
pub mod route;
pub mod auth;
pub mod access;
pub mod limit;
pub mod guard;
pub mod account;
pub mod quota;
pub mod vault;
pub mod upstream;
pub mod compose;
pub mod transform;

// The base that every stage may use.
pub mod config;
pub mod journal;
pub mod net;
pub mod observe;
pub mod request;

#[cfg(test)]
#[path = "../tests/shared/mod.rs"]
mod testing;
