//! Which account a request is about, and what stands for it in keys.

mod key;

pub use key::{AccountHasher, AccountKey};
