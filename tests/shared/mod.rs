//! What unit tests and end-to-end tests share.
#![allow(dead_code, reason = "each kind takes what it needs")]

pub mod authority;
pub mod dice;
pub mod files;
pub mod processor;
pub mod small_disk;
