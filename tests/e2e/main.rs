//! What a user sees: the real programs over real sockets, stage by stage.

mod cache;
mod compose;
mod transform;
mod upstream;
mod disk;
mod kill;
mod quota;
mod story;
mod support;
