//! Authentication: who is calling. Only this room makes a `Caller`.
//!
//! A bearer token is a JWT (RFC 7519) of one of the route's identity providers. `authenticator`
//! reads top-down what becomes of it; `token`, `json` and `claims` judge it; `jwk`, `keyset`,
//! `keyring` and `refresh` keep the providers' keys; `cache` remembers what was verified.

mod authenticator;
mod bearer;
mod cache;
mod challenge;
mod claims;
mod fetch;
mod flaw;
mod json;
mod jwk;
mod keyring;
mod keyrings;
mod keyset;
mod peek;
mod plan;
mod refresh;
mod schedule;
mod token;

#[cfg(test)]
mod tests;

pub use authenticator::Authenticator;
pub use cache::TokenCache;
pub use challenge::{Realm, challenge_header};
pub use keyrings::{KeyView, Keyrings, ProviderView};
pub use peek::read_unverified;
