//! The vault as the proxy uses it.

mod faults;
mod life;
mod proxy;
mod purges;
