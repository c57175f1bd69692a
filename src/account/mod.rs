//! Which account a request is about, and what stands for it in keys.

mod extract;
mod key;

pub use extract::{MAX_ACCOUNTS, accounts};
pub use key::{AccountHasher, AccountKey};
