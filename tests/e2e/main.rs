//! What a user sees: the real programs over real sockets, stage by stage.

mod cache;
mod compose;
mod transform;
mod upstream;
mod disk;
mod kill;
mod quota;
mod request;
mod access;
mod identity;
mod route;
mod reload;
mod admin;
mod command;
mod observe;
mod story;
mod support;
