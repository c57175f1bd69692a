//! The commands that an operator types.

mod admin_client;
mod args;
mod check;
mod explain;
mod kafka;
mod limits;
mod log;
mod manual;
mod run;

use std::process::ExitCode;

use clap::Parser;

pub use args::Args;
use args::{CacheCommand, Command, KafkaCommand, QuotaCommand};

/// What the process's exit status says; written down in `docs/operations.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// The configuration is wrong, Kafka is not as it must be, or what was asked was refused.
    Refused = 1,
    /// The command line is wrong (clap's own status).
    Usage = 2,
    /// The admin port, or Kafka, can't be reached.
    Unreachable = 3,
    /// The gateway could not start or stay up: port, state directory, operating system.
    Failed = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let exit = match Args::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Check { files, json } => check::check(&files, json),
        Command::Schema => check::schema(),
        Command::Reference => check::reference(),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man => manual::page(),
        Command::Explain(request) => explain::explain(&request),
        Command::Kafka { command } => match command {
            KafkaCommand::Init(args) => kafka::init(&args),
            KafkaCommand::Check(args) => kafka::check(&args),
        },
        Command::Quota { command, admin } => match command {
            QuotaCommand::Show { account } => admin_client::show_quota(&admin, &account),
            QuotaCommand::Reset { account } => admin_client::reset_quota(&admin, &account),
        },
        Command::Fleet { admin } => admin_client::show_fleet(&admin),
        Command::Ready { admin } => admin_client::show_readiness(&admin),
        Command::Cache { command, admin } => match command {
            CacheCommand::Show { account } => admin_client::show_cache(&admin, &account),
            CacheCommand::Purge { what } => admin_client::purge_cache(&admin, &what),
        },
    };
    exit.into()
}
