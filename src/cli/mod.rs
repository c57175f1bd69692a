//! The commands that an operator types.

mod admin_client;
mod args;
mod cgroup;
mod check;
mod explain;
mod kafka;
mod limits;
mod log;
mod manual;
mod output;
mod run;

use std::process::ExitCode;

use clap::Parser;

pub use args::Args;
use args::{CacheCommand, Command, KafkaCommand, QuotaCommand};
use output::Output;

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
    /// The gateway could not start or stay up: port, state directory, operating system. Or standard
    /// output can't be written.
    Failed = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let command = Args::parse().command;
    if let Command::Run { config } = &command {
        // Standard output is the access log's there.
        return run::run(config).into();
    }
    let mut output = Output::standard();
    let exit = answer(command, &mut output);
    output.end(exit).into()
}

fn answer(command: Command, out: &mut Output) -> Exit {
    match command {
        Command::Run { config } => run::run(&config),
        Command::Check { files, json } => check::check(out, &files, json),
        Command::Schema => check::schema(out),
        Command::Reference => check::reference(out),
        Command::Completions { shell } => manual::completions(out, shell),
        Command::Man => manual::page(out),
        Command::Explain(request) => explain::explain(out, &request),
        Command::Kafka { command } => match command {
            KafkaCommand::Init(args) => kafka::init(out, &args),
            KafkaCommand::Check(args) => kafka::check(out, &args),
        },
        Command::Quota { command, admin } => match command {
            QuotaCommand::Show { account } => admin_client::show_quota(out, &admin, &account),
            QuotaCommand::Reset { account } => admin_client::reset_quota(out, &admin, &account),
        },
        Command::Upgrade { admin } => admin_client::upgrade(out, &admin),
        Command::Fleet { admin } => admin_client::show_fleet(out, &admin),
        Command::Ready { admin } => admin_client::show_readiness(out, &admin),
        Command::Cache { command, admin } => match command {
            CacheCommand::Show { account } => admin_client::show_cache(out, &admin, &account),
            CacheCommand::Purge { what } => admin_client::purge_cache(out, &admin, &what),
        },
    }
}
