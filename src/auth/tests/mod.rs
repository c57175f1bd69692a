//! What callers and operators see, with real keys and a real provider on a socket.

mod authenticate;
mod cached;
mod hostile;
mod idp;
mod keyring;
mod keys;
mod signer;
mod world;
