use serde_json::json;

use super::args::KafkaArgs;
use super::output::complain;
use super::{Exit, Output};
use crate::config::{self, model::Config};
use crate::gateway::topics::{self, CheckReport, Finding, InitReport, Made, Severity, TopicsError};

/// Makes the topics that are missing, and says what it did.
pub(super) fn init(out: &mut Output, args: &KafkaArgs) -> Exit {
    let report = match ask(out, args, topics::init) {
        Ok(report) => report,
        Err(exit) => return exit,
    };
    let failed = report.topics.iter().any(|topic| matches!(topic.made, Made::Failed(_)));
    let ok = !failed && is_fit(&report.findings);
    if args.json {
        let InitReport { topics, findings } = &report;
        out.line(format_args!("{:#}", json!({ "ok": ok, "topics": topics, "findings": findings })));
    } else {
        for topic in &report.topics {
            match &topic.made {
                Made::Created => out.line(format_args!("{}: created", topic.topic)),
                Made::AlreadyThere => out.line(format_args!("{}: already there", topic.topic)),
                Made::Failed(reason) => {
                    out.line(format_args!("{}: not created: {reason}", topic.topic))
                }
            }
        }
        print(out, &report.findings);
    }
    exit(ok)
}

/// Says how Kafka differs from what a gateway needs.
pub(super) fn check(out: &mut Output, args: &KafkaArgs) -> Exit {
    let report = match ask(out, args, topics::check) {
        Ok(report) => report,
        Err(exit) => return exit,
    };
    let ok = is_fit(&report.findings);
    if args.json {
        let CheckReport { topics, clocks, findings } = &report;
        let view = json!({ "ok": ok, "topics": topics, "clocks": clocks, "findings": findings });
        out.line(format_args!("{view:#}"));
    } else {
        for topic in &report.topics {
            let (name, partitions, copies) = (&topic.topic, topic.partitions, topic.replication);
            out.line(format_args!("{name}: {partitions} partitions, copies: {copies}"));
        }
        for clock in &report.clocks {
            out.line(format_args!(
                "broker {}: the clock is {} ms ahead",
                clock.broker, clock.ahead_ms
            ));
        }
        print(out, &report.findings);
        out.line(format_args!("{}", if ok { "ok" } else { "not as it must be" }));
    }
    exit(ok)
}

/// Loads the configuration and asks Kafka.
fn ask<T>(
    out: &mut Output,
    args: &KafkaArgs,
    question: impl FnOnce(&Config) -> Result<T, TopicsError>,
) -> Result<T, Exit> {
    let config = config::load(&args.config).map_err(|problems| {
        fail(out, args, &problems, json!({ "ok": false, "problems": problems.to_json() }));
        Exit::Refused
    })?;
    question(&config).map_err(|error| {
        let text = format!("{}: {error}", args.config.display());
        fail(out, args, &text, json!({ "ok": false, "error": error.to_string() }));
        match error {
            TopicsError::Unreachable { .. } | TopicsError::Unanswered { .. } => Exit::Unreachable,
            TopicsError::NoKafka
            | TopicsError::Client(_)
            | TopicsError::Login { .. }
            | TopicsError::Unsafe(_) => Exit::Refused,
        }
    })
}

fn fail(out: &mut Output, args: &KafkaArgs, text: &dyn std::fmt::Display, json: serde_json::Value) {
    if args.json {
        out.line(format_args!("{json:#}"));
    } else {
        complain(text);
    }
}

/// Warnings don't count.
fn is_fit(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity == Severity::Warning)
}

fn print(out: &mut Output, findings: &[Finding]) {
    for finding in findings {
        out.line(format_args!("{finding}"));
    }
}

fn exit(ok: bool) -> Exit {
    if ok { Exit::Done } else { Exit::Refused }
}
