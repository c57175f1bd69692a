//! Which account a request is about, and what stands for it in keys.

mod extract;
mod fleet;
mod key;

pub use extract::{MAX_ACCOUNTS, accounts};
pub use fleet::{
    CallError, CredentialsError, ERRANDS, Fleet, FleetError, PASSPORT, Passport, PassportError,
};
pub use key::{AccountHasher, AccountKey};
