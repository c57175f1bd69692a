//! What the gateways are configured to: the rules that are judged.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Partitions of the topics.
pub const PARTITIONS: u32 = 12;

/// A quota rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: &'static str,
    pub limit: u64,
    pub rolling: bool,
    /// Uses that a fast rule may have unconfirmed; none: it is strict.
    pub fast: Option<u64>,
}

/// Accounts take them in turn.
pub const RULES: [Rule; 5] = [
    Rule { name: "few", limit: 5, rolling: false, fast: None },
    Rule { name: "rolling", limit: 8, rolling: true, fast: None },
    Rule { name: "many", limit: 30, rolling: false, fast: None },
    Rule { name: "fast", limit: 25, rolling: false, fast: Some(4) },
    Rule { name: "brisk", limit: 12, rolling: true, fast: Some(2) },
];

/// Where one gateway finds the others, Kafka and the backend. `ADDRESS` and `FOLDER` stand for its
/// own.
pub struct Place<'a> {
    pub brokers: &'a [String],
    pub copies: u32,
    pub topic_prefix: &'a str,
    pub state: &'a str,
    pub advertise: &'a str,
    pub authorities: &'a str,
    pub certificate: &'a str,
    pub key: &'a str,
    pub backend: u16,
    pub window_start: u64,
}

impl Place<'_> {
    /// The whole configuration. The version is what its route `/version` says.
    pub fn config(&self, version: u64) -> String {
        let Self { brokers, copies, topic_prefix, state, advertise, .. } = self;
        let mut text = format!(
            "listen: [{{ address: ADDRESS:8080 }}]\n\
             admin: {{ address: ADDRESS:9901 }}\n\
             state: {{ directory: {state}, account_key: 0123456789abcdef0123456789abcdef }}\n\
             cache: {{ sealing_keys: [0123456789abcdef0123456789abcdef], disk: 16MiB }}\n\
             observe: {{ access_log: {{ file: FOLDER/access.log }}, drain_wait: 1s }}\n\
             kafka: {{ brokers: {brokers:?}, topic_prefix: {topic_prefix}, partitions: {PARTITIONS}, \
             replication: {copies} }}\n\
             fleet: {{ listen: ADDRESS:7443, advertise: {advertise}, authorities: {}, \
             certificate: {}, key: {} }}\n\
             clusters: {{ witness: {{ endpoints: [127.0.0.1:{}] }} }}\nquotas:\n",
            self.authorities, self.certificate, self.key, self.backend
        );
        let _ = RULES.iter().try_for_each(|rule| self.rule(&mut text, rule));
        text.push_str("routes:\n");
        for Rule { name, .. } in RULES {
            let _ = writeln!(
                text,
                "  - {{ id: {name}, match: {{ path: \"/{name}/{{account}}\" }}, \
                 authenticate: none, account: path.account, quotas: [{name}], cluster: witness }}"
            );
        }
        let _ = writeln!(
            text,
            "  - {{ id: version, match: {{ path: /version }}, authenticate: none, \
             answer: {{ body: \"{version}\" }} }}"
        );
        text
    }

    fn rule(&self, text: &mut String, rule: &Rule) -> std::fmt::Result {
        let window = if rule.rolling {
            "rolling: true".to_owned()
        } else {
            format!("offset: {}s", self.window_start)
        };
        let accuracy = rule.fast.map_or("strict".to_owned(), |most| format!("{{ fast: {most} }}"));
        writeln!(
            text,
            "  {}: {{ per: [account], limit: {}, window: 24h, {window}, accuracy: {accuracy}, \
             unavailable: deny, counts: success }}",
            rule.name, rule.limit
        )
    }
}

/// Start of days that are half over, in seconds of a day: neither a long run nor a stepped clock
/// meets the end of one.
pub fn half_a_day_ago() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (now + 43_200) % 86_400
}
