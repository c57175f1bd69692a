use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::request::AccountId;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TOLLGATE_COMMIT"), ")");

const EXAMPLES: &str = "\
Examples:
  tollgate check /etc/tollgate/tollgate.yaml
  tollgate run --config /etc/tollgate/tollgate.yaml
  tollgate kafka init --config /etc/tollgate/tollgate.yaml
  tollgate explain tollgate.yaml GET https://api.bank.example/accounts/4711/summary
  tollgate quota show 4711 --admin http://127.0.0.1:9901
  tollgate fleet --admin http://127.0.0.1:9901
  tollgate upgrade --admin http://127.0.0.1:9901

Exit status:
  0  done
  1  the configuration is wrong, Kafka is not as it must be, or what was asked was refused
  2  the command line is wrong
  3  the admin port, or Kafka, can't be reached
  4  the gateway could not start or stay up, or standard output can't be written";

/// An API gateway that counts use per account, exactly, at the first hop.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version = VERSION, after_help = EXAMPLES, max_term_width = 100)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve requests until stopped; SIGHUP loads the configuration again, SIGUSR2 has the program
    /// that now stands in this one's place take over.
    Run {
        /// The configuration.
        #[arg(long, short, env = "TOLLGATE_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
    /// Judge configurations: every error at once, each with its place and a remedy.
    Check {
        /// The configurations.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Machine-readable output.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Print docs/configuration.md.
    #[command(hide = true)]
    Reference,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(hide = true)]
    Man,
    /// Make the topics of a fleet, or say how they differ from what is needed and what mends it.
    Kafka {
        /// What to do.
        #[command(subcommand)]
        command: KafkaCommand,
    },
    /// Say what would happen to a request: route, each stage's decision and why. Calls nobody.
    Explain(ExplainArgs),
    /// Look at an account's quotas, or set them back, through the admin port.
    Quota {
        /// What to do.
        #[command(subcommand)]
        command: QuotaCommand,
        /// The gateway.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Have the program that now stands in the gateway's place take over from it, with its
    /// configuration read anew. No request fails; if the new process does, the old one serves on.
    Upgrade {
        /// The gateway.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Look at the fleet through the admin port of one gateway: who owns which quota partitions.
    Fleet {
        /// The gateway.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Ask a gateway whether it is ready: exit status 0, or 1 with the reasons. Health checks of
    /// containers need no other program for it.
    Ready {
        /// The gateway.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Look at an account's cached answers, or purge some, through the admin port.
    Cache {
        /// What to do.
        #[command(subcommand)]
        command: CacheCommand,
        /// The gateway.
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// A request to explain.
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// The configuration.
    #[arg(value_name = "FILE")]
    pub config: PathBuf,
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// A header, as in -H 'Authorization: Bearer …'; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The body, or @FILE to read it from; a route that reads it needs its content-type too.
    #[arg(long, value_name = "TEXT")]
    pub body: Option<String>,
    /// The admin port of a running gateway of the fleet, to be asked who owns the account.
    #[arg(long, value_name = "URL", value_parser = url)]
    pub admin: Option<String>,
    /// Machine-readable output.
    #[arg(long)]
    pub json: bool,
}

/// What can be done with Kafka.
#[derive(Debug, Subcommand)]
pub enum KafkaCommand {
    /// Make the topics that are missing. What is there stays as it is, so this may be repeated.
    Init(KafkaArgs),
    /// Look at topics, permissions and clocks: every difference, with the command that mends it.
    Check(KafkaArgs),
}

/// Which Kafka.
#[derive(Debug, ClapArgs)]
pub struct KafkaArgs {
    /// The configuration of a gateway of the fleet.
    #[arg(long, short, env = "TOLLGATE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Machine-readable output.
    #[arg(long)]
    pub json: bool,
}

/// Where the admin port is.
#[derive(Debug, ClapArgs)]
pub struct AdminArgs {
    /// The admin port.
    #[arg(
        long,
        global = true,
        env = "TOLLGATE_ADMIN",
        default_value = "http://127.0.0.1:9901",
        value_name = "URL",
        value_parser = url
    )]
    pub admin: String,
    /// Token for changing calls; better given as TOLLGATE_ADMIN_TOKEN than in a process list.
    #[arg(long, global = true, env = "TOLLGATE_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Machine-readable output.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with quotas.
#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// What an account has used, by rule.
    Show {
        /// The account.
        #[arg(value_parser = account)]
        account: String,
    },
    /// Give an account all its quotas back.
    Reset {
        /// The account.
        #[arg(value_parser = account)]
        account: String,
    },
}

/// What can be done with the cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Which answers of an account are kept.
    Show {
        /// The account.
        #[arg(value_parser = account)]
        account: String,
    },
    /// Remove answers.
    Purge {
        /// Which.
        #[command(flatten)]
        what: PurgeArgs,
    },
}

/// Which answers to purge: exactly one of these.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub struct PurgeArgs {
    /// All answers of an account.
    #[arg(long, value_parser = account)]
    pub account: Option<String>,
    /// All answers of a route.
    #[arg(long)]
    pub route: Option<String>,
    /// All answers.
    #[arg(long)]
    pub all: bool,
}

/// Where an admin port can be.
fn url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok();
    let is_port = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_port { Ok(text.to_owned()) } else { Err("write it as in http://127.0.0.1:9901".into()) }
}

fn account(text: &str) -> Result<String, String> {
    AccountId::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_unknown_flag_suggests_the_nearest() {
        let error = Args::try_parse_from(["tollgate", "run", "--confg", "x"]).unwrap_err();
        assert!(error.to_string().contains("'--config'"), "{error}");
    }

    #[test]
    fn a_purge_says_what() {
        assert!(Args::try_parse_from(["tollgate", "cache", "purge"]).is_err());
        assert!(Args::try_parse_from(["tollgate", "cache", "purge", "--all"]).is_ok());
        let both = ["tollgate", "cache", "purge", "--all", "--account", "1"];
        assert!(Args::try_parse_from(both).is_err());
    }
}
