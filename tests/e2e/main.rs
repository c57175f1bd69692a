//! What a user sees: the real programs over real sockets, stage by stage.

mod story;
mod support;
