//! What gateways ask of each other about accounts, as JSON. A gateway that does not know an errand
//! refuses it, and whoever asked goes on without; a field never changes its meaning.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::owner::{Answer, Held, Standing};
use super::window::{Frame, Terms};
use crate::journal::{AccountBytes, Bucket, Label, Period};
use crate::request::UnixMillis;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Errand {
    /// Begin nothing new in a partition: whoever asks is about to claim it.
    LetGo {
        /// The partition.
        partition: u32,
    },
    /// Set all counts of an account to zero.
    Reset {
        /// The account.
        account: AccountBytes,
    },
    /// Reserve a use of each bucket. They are of one partition.
    Reserve {
        /// The buckets and what their rules demand.
        charges: Vec<WireCharge>,
    },
    /// Count uses and give others back that the asker admitted, or another owner before.
    Settle {
        /// By bucket and period.
        uses: Vec<WireUse>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// It is done.
    Done,
    /// It was not done: another gateway owns the partition.
    NotOwner,
    /// It was not done, or may not have been.
    Failed,
    /// Counts set to zero.
    Reset {
        /// How many.
        buckets: usize,
    },
    /// For each charge in turn.
    Reserved {
        /// What became of it.
        answers: Vec<WireAnswer>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireBucket {
    account: AccountBytes,
    rule: Arc<str>,
    dimensions: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireCharge {
    bucket: WireBucket,
    length: u64,
    /// Of a fixed window; a rolling one has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    limit: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unconfirmed: Option<u64>,
}

/// Uses in one period of one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireUse {
    bucket: WireBucket,
    start: u64,
    ends: u64,
    round: u32,
    /// To be counted.
    #[serde(default)]
    pub served: u64,
    /// To be given back.
    #[serde(default)]
    pub refunds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireAnswer {
    Admitted { start: u64, ends: u64, round: u32, standing: WireStanding },
    Exceeded { standing: WireStanding },
    Unavailable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireStanding {
    used: u64,
    resets: u64,
    offset: u64,
}

impl WireBucket {
    fn of(bucket: &Bucket) -> Self {
        Self {
            account: bucket.account,
            rule: Arc::clone(&bucket.label.rule),
            dimensions: bucket.label.dimensions.clone(),
        }
    }

    fn bucket(self) -> Bucket {
        let label = Label { rule: self.rule, dimensions: self.dimensions };
        Bucket { account: self.account, label: Arc::new(label) }
    }
}

impl WireCharge {
    pub fn of(bucket: &Bucket, terms: &Terms) -> Self {
        let (length, offset) = match terms.frame {
            Frame::Fixed { length, offset } => (length, Some(offset)),
            Frame::Rolling { length } => (length, None),
        };
        let (limit, unconfirmed) = (terms.limit, terms.unconfirmed);
        Self { bucket: WireBucket::of(bucket), length, offset, limit, unconfirmed }
    }

    pub fn charge(self) -> (Bucket, Terms) {
        // A window of no length has no periods.
        let length = self.length.max(1);
        let frame = match self.offset {
            Some(offset) => Frame::Fixed { length, offset },
            None => Frame::Rolling { length },
        };
        let terms = Terms { frame, limit: self.limit, unconfirmed: self.unconfirmed };
        (self.bucket.bucket(), terms)
    }
}

impl WireUse {
    pub fn of(held: &Held, served: u64, refunds: u64) -> Self {
        let (start, ends) = (held.period.start.0, held.period.ends.0);
        let bucket = WireBucket::of(&held.bucket);
        Self { bucket, start, ends, round: held.round, served, refunds }
    }

    pub fn held(self) -> Held {
        let period = Period { start: UnixMillis(self.start), ends: UnixMillis(self.ends) };
        Held { bucket: self.bucket.bucket(), period, round: self.round }
    }

    pub fn account(&self) -> &AccountBytes {
        &self.bucket.account
    }
}

impl WireAnswer {
    pub fn of(answer: Option<Answer>) -> Self {
        match answer {
            Some(Answer::Admitted(held, standing)) => Self::Admitted {
                start: held.period.start.0,
                ends: held.period.ends.0,
                round: held.round,
                standing: WireStanding::of(standing),
            },
            Some(Answer::Exceeded(standing)) => {
                Self::Exceeded { standing: WireStanding::of(standing) }
            }
            Some(Answer::Unavailable(_) | Answer::Reset) | None => Self::Unavailable,
        }
    }

    /// The answer for a bucket; `None`: it can't be said.
    pub fn answer(self, bucket: &Bucket) -> Option<Answer> {
        match self {
            Self::Admitted { start, ends, round, standing } => {
                let period = Period { start: UnixMillis(start), ends: UnixMillis(ends) };
                let held = Held { bucket: bucket.clone(), period, round };
                Some(Answer::Admitted(held, standing.standing()))
            }
            Self::Exceeded { standing } => Some(Answer::Exceeded(standing.standing())),
            Self::Unavailable => None,
        }
    }
}

impl WireStanding {
    fn of(standing: Standing) -> Self {
        Self { used: standing.used, resets: standing.resets.0, offset: standing.offset }
    }

    fn standing(self) -> Standing {
        let Self { used, resets, offset } = self;
        Standing { used, resets: UnixMillis(resets), offset }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn held() -> Held {
        let label = Label { rule: "daily".into(), dimensions: "client=app".into() };
        Held {
            bucket: Bucket { account: [7; 16], label: Arc::new(label) },
            period: Period { start: UnixMillis(10), ends: UnixMillis(20) },
            round: 1,
        }
    }

    fn as_json(errand: &Errand) -> Value {
        serde_json::to_value(errand).unwrap()
    }

    #[test]
    fn the_text_of_an_errand_is_this_for_every_version() {
        let account = [7; 16];
        let bucket = json!({ "account": account, "rule": "daily", "dimensions": "client=app" });
        assert_eq!(
            as_json(&Errand::LetGo { partition: 3 }),
            json!({ "let_go": { "partition": 3 } })
        );
        assert_eq!(as_json(&Errand::Reset { account }), json!({ "reset": { "account": account } }));
        let frame = Frame::Fixed { length: 1000, offset: 5 };
        let terms = Terms { frame, limit: 4, unconfirmed: None };
        let charges = vec![WireCharge::of(&held().bucket, &terms)];
        assert_eq!(
            as_json(&Errand::Reserve { charges }),
            json!({ "reserve": { "charges": [
                { "bucket": bucket, "length": 1000, "offset": 5, "limit": 4 }
            ] } })
        );
        let uses = vec![WireUse::of(&held(), 2, 1)];
        assert_eq!(
            as_json(&Errand::Settle { uses }),
            json!({ "settle": { "uses": [
                { "bucket": bucket, "start": 10, "ends": 20, "round": 1, "served": 2, "refunds": 1 }
            ] } })
        );
    }

    #[test]
    fn what_is_asked_and_answered_arrives_as_it_was() {
        let frame = Frame::Rolling { length: 1000 };
        let terms = Terms { frame, limit: 4, unconfirmed: Some(2) };
        let wire = serde_json::to_vec(&WireCharge::of(&held().bucket, &terms)).unwrap();
        let read: WireCharge = serde_json::from_slice(&wire).unwrap();
        assert_eq!(read.charge(), (held().bucket, terms));
        assert_eq!(WireUse::of(&held(), 1, 2).held(), held());
        let standing = Standing { used: 3, resets: UnixMillis(9), offset: 12 };
        for answer in [Answer::Admitted(held(), standing), Answer::Exceeded(standing)] {
            let wire = serde_json::to_vec(&WireAnswer::of(Some(answer.clone()))).unwrap();
            let read: WireAnswer = serde_json::from_slice(&wire).unwrap();
            assert_eq!(read.answer(&held().bucket), Some(answer));
        }
        assert_eq!(WireAnswer::of(None).answer(&held().bucket), None);
    }

    #[test]
    fn a_field_of_a_later_version_is_ignored_and_a_later_errand_refused() {
        let later = r#"{ "let_go": { "partition": 3, "politely": true } }"#;
        assert_eq!(serde_json::from_str::<Errand>(later).unwrap(), Errand::LetGo { partition: 3 });
        assert!(serde_json::from_str::<Errand>(r#"{ "sing": {} }"#).is_err());
    }
}
