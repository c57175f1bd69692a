//! The topics of a fleet: makes them, and says how they differ from what is needed and which
//! command mends it. Everything here waits for Kafka, within bounds.

mod access;
mod clock;
mod compare;
mod found;
mod mend;
mod session;
mod setting;
mod wanted;
mod watch;

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use serde::Serialize;

use self::compare::compare;
use self::found::Found;
use self::mend::Tools;
use self::session::Session;
use self::wanted::Wanted;
pub use self::watch::{EVERY, Watch};
use crate::config::model::{Config, Kafka};

/// How long to wait for an answer of Kafka before it counts as unreachable.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Warning,
    /// Not what is needed: something costs more, or works less well, or not at all.
    Difference,
    /// Counts would not be exact: a gateway does not start.
    Unsafe,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A topic, a group or a broker.
    pub subject: String,
    /// A setting, a number of partitions or copies, an operation that is not allowed.
    pub what: String,
    /// What is there.
    pub found: String,
    /// What is needed.
    pub needed: String,
    /// Why.
    pub why: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Difference => "difference",
            Severity::Unsafe => "unsafe",
        };
        let Self { subject, what, found, needed, why, .. } = self;
        write!(f, "{severity}: {subject}: {what} is {found}; needed: {needed}\n  why: {why}")?;
        self.command.iter().try_for_each(|command| write!(f, "\n  mend: {command}"))
    }
}

/// What became of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// It was missing and is there now.
    Created,
    /// It was there and was not touched.
    AlreadyThere,
    /// It is missing still, for this reason.
    Failed(String),
}

/// A topic as `init` left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MadeTopic {
    /// Its name.
    pub topic: String,
    /// What became of it.
    pub made: Made,
}

/// A topic as `check` found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicView {
    /// Its name.
    pub topic: String,
    /// Its partitions.
    pub partitions: usize,
    /// Copies of the partition that has the fewest.
    pub replication: usize,
}

/// A broker's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockView {
    /// The broker's number.
    pub broker: i32,
    /// How far it is ahead of this machine's clock for certain, in milliseconds; below zero it is
    /// behind.
    pub ahead_ms: i64,
}

/// What `init` did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InitReport {
    /// Every topic.
    pub topics: Vec<MadeTopic>,
    /// How those that are there differ from what is needed.
    pub findings: Vec<Finding>,
}

/// What `check` found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    /// Topics that are there.
    pub topics: Vec<TopicView>,
    /// Clocks of brokers, as far as they could be asked.
    pub clocks: Vec<ClockView>,
    /// All that is not as it should be.
    pub findings: Vec<Finding>,
}

/// Why Kafka could not be asked, or must not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicsError {
    /// The configuration names no Kafka.
    #[error("there is no `kafka` in the configuration")]
    NoKafka,
    /// The client refuses its settings.
    #[error("a Kafka client can't be made: {0}")]
    Client(String),
    /// The brokers don't accept the login.
    #[error(
        "Kafka at {brokers} refuses the login: {reason}. Compare `kafka.sasl` with the user's \
         SCRAM-SHA-512 credentials there (kafka-configs.sh --describe --entity-type users)"
    )]
    Login {
        /// The brokers.
        brokers: String,
        /// What they say.
        reason: String,
    },
    /// No broker answers.
    #[error(
        "no Kafka broker of {brokers} answered within {seconds} s: {reason}. Check \
         `kafka.brokers`, that they run, and that `kafka.tls` and `kafka.sasl` are what they expect"
    )]
    Unreachable {
        /// The brokers.
        brokers: String,
        /// How long it was tried.
        seconds: u64,
        /// What the last attempt came to.
        reason: String,
    },
    /// A question was not answered.
    #[error("Kafka was asked for {what} and did not answer: {reason}")]
    Unanswered {
        /// What was asked for.
        what: String,
        /// What came instead.
        reason: String,
    },
    /// With topics like these counts would not be exact.
    #[error("{}", unsafe_text(.0))]
    Unsafe(Vec<Finding>),
}

fn unsafe_text(findings: &[Finding]) -> String {
    let list: Vec<String> = findings.iter().map(Finding::to_string).collect();
    format!("with these topics counts would not be exact:\n{}", list.join("\n"))
}

/// Makes the topics that are missing. Touches none that is there. Safe to repeat, and by several
/// at once.
///
/// # Errors
/// [`TopicsError`], if Kafka can't be asked.
pub fn init(config: &Config) -> Result<InitReport, TopicsError> {
    let (kafka, session) = open(config, PATIENCE)?;
    let tools = Tools::new(kafka);
    let mut report = InitReport::default();
    for wanted in Wanted::all(kafka, config) {
        let mut found = session.look(&wanted)?;
        let made = match &found {
            Found::Missing => session.create(&wanted)?,
            Found::There(_) => Made::AlreadyThere,
            Found::Denied { .. } => {
                Made::Failed("this user may not see whether it is there".into())
            }
        };
        if matches!(found, Found::Missing) && !matches!(made, Made::Failed(_)) {
            found = session.look(&wanted)?;
        }
        report.findings.extend(compare(&wanted, &found, &tools));
        report.topics.push(MadeTopic { topic: wanted.name, made });
    }
    worst_first(&mut report.findings);
    Ok(report)
}

/// Looks at everything that a gateway needs of Kafka: topics, what it may do, clocks. Leaves
/// nothing behind that a gateway would notice.
///
/// # Errors
/// [`TopicsError`], if Kafka can't be asked.
pub fn check(config: &Config) -> Result<CheckReport, TopicsError> {
    let (kafka, session) = open(config, PATIENCE)?;
    let tools = Tools::new(kafka);
    let mut report = CheckReport::default();
    for wanted in Wanted::all(kafka, config) {
        let found = session.look(&wanted)?;
        report.findings.extend(compare(&wanted, &found, &tools));
        report.findings.extend(access::topic(kafka, &wanted, &found, &tools)?);
        if let Found::There(present) = &found {
            report.topics.push(present.view(&wanted.name));
            report.clocks.extend(clock::of_leaders(kafka, &wanted, present)?);
        }
    }
    report.findings.extend(access::group(kafka, &tools)?);
    report.findings.extend(report.clocks.iter().filter_map(clock::judge));
    worst_first(&mut report.findings);
    Ok(report)
}

fn worst_first(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
}

/// The age at which an owner writes its claim anew, since the topic doesn't keep it for good.
pub fn claim_renewal(config: &Config) -> Duration {
    wanted::claim_renewal(config)
}

/// Whether a configuration counts over a longer time than another one: topics that outlive the
/// windows of that one need not outlive those of this one.
pub fn counts_longer(config: &Config, than: &Config) -> bool {
    wanted::longest_window(config) > wanted::longest_window(than)
}

/// For a start or a reload: refuses topics with which counts would not be exact, and gives what else
/// an operator should know. `patience`: how long to wait for Kafka, also if it goes away in the
/// middle. Each question may take ten seconds more.
///
/// # Errors
/// [`TopicsError::Unsafe`], and the others if Kafka can't be asked.
pub fn refuse_unsafe(config: &Config, patience: Duration) -> Result<Vec<Finding>, TopicsError> {
    let started = Instant::now();
    loop {
        let left = patience.saturating_sub(started.elapsed());
        match look_for_unsafe(config, left) {
            Err(error @ TopicsError::Unanswered { .. }) if !left.is_zero() => {
                tracing::warn!(%error, "Kafka is asked again");
            }
            other => return other,
        }
    }
}

fn look_for_unsafe(config: &Config, patience: Duration) -> Result<Vec<Finding>, TopicsError> {
    let (kafka, session) = open(config, patience)?;
    let tools = Tools::new(kafka);
    let mut findings = Vec::new();
    for wanted in Wanted::all(kafka, config) {
        findings.extend(compare(&wanted, &session.look(&wanted)?, &tools));
    }
    let (bad, others): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Unsafe);
    if bad.is_empty() { Ok(others) } else { Err(TopicsError::Unsafe(bad)) }
}

fn open(config: &Config, patience: Duration) -> Result<(&Kafka, Session), TopicsError> {
    let kafka = config.kafka.as_deref().ok_or(TopicsError::NoKafka)?;
    Ok((kafka, Session::open(kafka, patience)?))
}

/// Whether a broker refused because this gateway may not do that.
fn is_denied(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

#[cfg(test)]
mod testing {
    use super::*;

    pub fn kafka() -> Kafka {
        Kafka {
            brokers: vec!["one:9092".into(), "two:9092".into()],
            topic_prefix: "t".into(),
            partitions: 3,
            replication: 3,
            tls: None,
            sasl: None,
            delivery_timeout: Duration::from_secs(5),
            session_timeout: Duration::from_secs(6),
            cache_retention: Duration::from_secs(86_400),
        }
    }
}
