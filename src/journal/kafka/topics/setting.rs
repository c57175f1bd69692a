//! Settings of topics, and which of their values will do.

use super::Severity;

/// What a setting must be like.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub name: &'static str,
    /// What a new topic gets.
    pub value: String,
    pub rule: Rule,
    /// What goes wrong otherwise.
    pub why: String,
}

/// Which values will do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// This one only.
    Exactly(Severity),
    /// The same words in any order. Without the first it is as bad as said.
    Words(Severity),
    /// A number that is at least this, where -1 is without end; below the other it is unsafe.
    AtLeast { least: u64, unsafe_below: u64 },
    /// A number that is at most this.
    AtMost(u64),
}

impl Setting {
    /// How bad a value is; `None`: it will do.
    pub fn judge(&self, found: &str) -> Option<Severity> {
        match self.rule {
            Rule::Exactly(severity) => (found != self.value).then_some(severity),
            Rule::Words(severity) => {
                let (wanted, found) = (sorted(&self.value), sorted(found));
                let first = self.value.split(',').next().unwrap_or_default();
                match found.contains(&first) {
                    false => Some(severity),
                    true => (found != wanted).then_some(Severity::Difference),
                }
            }
            Rule::AtLeast { least, unsafe_below } => match found.parse::<i64>() {
                Ok(-1) => None,
                Ok(number) => {
                    let number = u64::try_from(number).unwrap_or_default();
                    match number {
                        _ if number < unsafe_below => Some(Severity::Unsafe),
                        _ => (number < least).then_some(Severity::Difference),
                    }
                }
                Err(_) => Some(Severity::Difference),
            },
            Rule::AtMost(most) => {
                let number = found.parse::<u64>().unwrap_or(u64::MAX);
                (number > most).then_some(Severity::Difference)
            }
        }
    }

    /// What is needed, in words.
    pub fn needed(&self) -> String {
        match self.rule {
            Rule::Exactly(_) | Rule::Words(_) => self.value.clone(),
            Rule::AtLeast { least, .. } => format!("at least {least}"),
            Rule::AtMost(most) => format!("at most {most}"),
        }
    }
}

fn sorted(list: &str) -> Vec<&str> {
    let mut words: Vec<&str> = list.split(',').map(str::trim).collect();
    words.sort_unstable();
    words
}
