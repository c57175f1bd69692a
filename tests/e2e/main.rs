//! What a user sees: the real programs over real sockets, stage by stage.
#![allow(clippy::type_complexity, reason = "tables of cases read best where they stand")]

mod access;
mod admin;
#[path = "../kafka/broker.rs"]
mod broker;
mod cache;
mod command;
mod compose;
mod demo;
mod disk;
mod fleet;
mod identity;
mod install;
mod kill;
#[allow(dead_code, reason = "not all weathers are needed here")]
#[path = "../chaos/link.rs"]
mod link;
mod observe;
mod quota;
mod reload;
mod request;
mod route;
mod service;
#[path = "../shared/mod.rs"]
mod shared;
mod story;
mod support;
mod transform;
mod upgrade;
mod upstream;
