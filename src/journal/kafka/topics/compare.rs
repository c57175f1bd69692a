//! How a topic differs from what is needed.

use super::found::{Found, Present, Settings};
use super::mend::Tools;
use super::setting::Setting;
use super::wanted::{IN_SYNC, Wanted, confirming, severity};
use super::{Finding, Severity};
use crate::config::model::Topic;

/// All differences of a topic.
pub(super) fn compare(wanted: &Wanted, found: &Found, tools: &Tools) -> Vec<Finding> {
    let mut compare = Compare { wanted, tools, findings: Vec::new() };
    match found {
        Found::Missing => compare.missing(),
        Found::Denied { settings_too } => {
            compare.denied();
            if *settings_too {
                compare.settings_denied();
            }
        }
        Found::There(present) => {
            compare.partitions(present);
            compare.copies(present);
            match &present.settings {
                Settings::Denied => compare.settings_denied(),
                Settings::Known(_) => compare.settings(present),
            }
        }
    }
    compare.findings
}

struct Compare<'c> {
    wanted: &'c Wanted,
    tools: &'c Tools,
    findings: Vec<Finding>,
}

impl Compare<'_> {
    fn note(
        &mut self,
        severity: Severity,
        what: &str,
        (found, needed): (String, String),
        why: &str,
        command: Option<String>,
    ) {
        let (subject, what, why) = (self.wanted.name.clone(), what.to_owned(), why.to_owned());
        self.findings.push(Finding { severity, subject, what, found, needed, why, command });
    }

    fn missing(&mut self) {
        let found = ("missing".to_owned(), "there".to_owned());
        let why = "`tollgate kafka init` makes it, if this user may create topics";
        let command = self.tools.create(self.wanted);
        self.note(Severity::Unsafe, "the topic", found, why, Some(command));
    }

    fn denied(&mut self) {
        let command = self.tools.allow("Read", &format!("--topic {}", self.wanted.name));
        let found = ("hidden".to_owned(), "seen".to_owned());
        let why = "this user may neither read nor describe it";
        self.note(Severity::Unsafe, "the topic", found, why, Some(command));
    }

    fn settings_denied(&mut self) {
        let resource = format!("--topic {}", self.wanted.name);
        let command = self.tools.allow("DescribeConfigs", &resource);
        let found = ("denied".to_owned(), "allowed".to_owned());
        let why = "settings with which counts would not be exact can't be told from others";
        let severity = severity(self.wanted.topic);
        self.note(severity, "DescribeConfigs", found, why, Some(command));
    }

    fn partitions(&mut self, present: &Present) {
        let (found, needed) = (present.copies.len(), self.wanted.partitions as usize);
        if found == needed {
            return;
        }
        let (why, command) = match (present.is_empty, found < needed) {
            (true, true) => (
                "`kafka.partitions` says how many there are".to_owned(),
                self.tools.add_partitions(self.wanted),
            ),
            (true, false) => (
                "partitions can't be taken away, but nothing is in them yet".to_owned(),
                self.tools.start_over(self.wanted),
            ),
            (false, _) => (
                format!(
                    "accounts would be looked for where their records are not. To keep these, set \
                     `kafka.partitions: {found}`; the command begins anew, without them"
                ),
                self.tools.start_over(self.wanted),
            ),
        };
        let numbers = (found.to_string(), needed.to_string());
        self.note(Severity::Unsafe, "the number of partitions", numbers, &why, Some(command));
    }

    fn copies(&mut self, present: &Present) {
        let (found, needed) = (present.replication(), usize::from(self.wanted.replication));
        let numbers = (found.to_string(), format!("at least {needed}"));
        let what = "the number of copies";
        if found >= needed {
            if found == 1 && self.wanted.topic == Topic::Quotas {
                let why = "a lost disk loses counts; use three brokers where counts must be exact";
                let numbers = (numbers.0, "3 for a fleet in earnest".to_owned());
                self.note(Severity::Warning, what, numbers, why, None);
            }
            return;
        }
        let bad = if found == 1 { severity(self.wanted.topic) } else { Severity::Difference };
        if present.brokers.len() < needed {
            let brokers = present.brokers.len();
            let why = format!(
                "the cluster has {brokers} broker(s): add some, or say `kafka.replication: {found}` \
                 if that is meant"
            );
            return self.note(bad, what, numbers, &why, None);
        }
        let command = self.tools.copies(self.wanted, &present.brokers, &present.copies);
        let why = "`kafka.replication` says how many brokers keep each partition";
        self.note(bad, what, numbers, why, Some(command));
    }

    fn settings(&mut self, present: &Present) {
        for setting in &self.wanted.settings {
            // What is safe depends on the copies that there are, not on those that should be.
            let setting = match setting.name {
                IN_SYNC => &confirming(present.replication(), self.wanted.topic),
                _ => setting,
            };
            let Some(found) = present.setting(setting.name) else {
                // Not every broker that speaks Kafka's protocol has every setting.
                let (found, needed) = ("not reported", setting.needed());
                self.setting(Severity::Difference, setting, found, &needed, &setting.why);
                continue;
            };
            if let Some(severity) = setting.judge(found) {
                self.setting(severity, setting, found, &setting.needed(), &setting.why);
            } else if setting.name == IN_SYNC && number(found) > present.replication() as u64 {
                let why = "more copies than there are would have to confirm: nothing is written";
                self.setting(Severity::Unsafe, setting, found, &setting.value, why);
            }
        }
    }

    fn setting(
        &mut self,
        severity: Severity,
        setting: &Setting,
        found: &str,
        needed: &str,
        why: &str,
    ) {
        let command = self.tools.set(&self.wanted.name, setting);
        let values = (found.to_owned(), needed.to_owned());
        self.note(severity, setting.name, values, why, Some(command));
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}
