//! Quotas: what is counted, for whom, how exactly, and what a caller and an operator see of it.

mod accounts;
mod buckets;
mod counts;
mod exact;
mod operators;
mod secrecy;
mod windows;

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::gateway::base_config;
use crate::support::{Answer, Bank, Tollgate, eventually};

/// A bank, a gateway before it, and a token of its first client.
pub struct World {
    pub bank: Bank,
    pub gateway: Tollgate,
    pub token: String,
}

impl World {
    /// With rules and routes: the lines below `quotas:` and `routes:`.
    async fn start(rules: &str, routes: &str) -> Self {
        let bank = Bank::start().await;
        let gateway = Tollgate::start(&config(&bank, rules, routes)).await;
        let token = bank.token("budget-app").await;
        Self { bank, gateway, token }
    }

    async fn get(&self, path: &str) -> Answer {
        self.gateway.get(path, &self.token).await
    }

    async fn statuses(&self, path: &str, count: usize) -> Vec<u16> {
        let mut statuses = Vec::with_capacity(count);
        for _ in 0..count {
            statuses.push(self.get(path).await.status.as_u16());
        }
        statuses
    }

    /// Uses of an account that count now, as the operators' port says.
    async fn used(&self, account: &str, rule: &str) -> u64 {
        used(&self.gateway, account, rule).await
    }

    /// Uses are given back after the answer is out.
    async fn until_used(&self, account: &str, rule: &str, wanted: u64) {
        eventually(&format!("{rule} to have {wanted} uses"), async || {
            let used = self.used(account, rule).await;
            if used == wanted { Ok(()) } else { Err(used) }
        })
        .await;
    }
}

fn config(bank: &Bank, rules: &str, routes: &str) -> String {
    let rules = rules.replace("window: 24h", &format!("window: 24h, offset: {}s", a_while_ago()));
    let mut text = base_config(bank);
    write!(text, "quotas:\n{rules}routes:\n{routes}").unwrap();
    text
}

/// Start of days that are half over, in seconds of a day: so that no test meets a midnight.
/// Always the same in one run, since another start makes other windows.
pub fn a_while_ago() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        (now + 43_200) % 86_400
    })
}

/// Uses that count now, over all of an account's buckets of a rule.
pub async fn used(gateway: &Tollgate, account: &str, rule: &str) -> u64 {
    buckets(gateway, account, rule)
        .await
        .iter()
        .map(|bucket| bucket["used"].as_u64().unwrap())
        .sum()
}

/// An account's buckets of a rule, as operators see them.
async fn buckets(gateway: &Tollgate, account: &str, rule: &str) -> Vec<Value> {
    let view = gateway.view(&format!("/quotas/{account}")).await;
    let all = view["quotas"].as_array().unwrap_or_else(|| panic!("{view}")).clone();
    all.into_iter().filter(|bucket| bucket["rule"] == rule).collect()
}

/// A route of everything below `/ID/{account}` to the checking service, charged to some rules.
fn route(id: &str, rules: &str) -> String {
    route_to("checking", id, rules, "")
}

fn route_to(cluster: &str, id: &str, rules: &str, more: &str) -> String {
    format!(
        "  - {{ id: {id}, match: {{ path: \"/{id}/{{account}}\" }}, authenticate: bank, \
         account: path.account, quotas: [{rules}], cluster: {cluster}, \
         rewrite: {{ path: \"/v1/{{account}}\" }}{more} }}\n"
    )
}

/// `r` and `t` of a policy in the RateLimit field.
fn standing(answer: &Answer, policy: &str) -> (u64, u64) {
    let field = answer.header("ratelimit");
    let item = field.split(", ").find(|item| item.starts_with(&format!("\"{policy}\"")));
    let number = |name: &str| {
        let mut parameters = item.unwrap_or_default().split(';');
        let found =
            parameters.find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{policy} in {field:?}"))
    };
    (number("r"), number("t"))
}

fn count(statuses: &[u16], wanted: u16) -> usize {
    statuses.iter().filter(|status| **status == wanted).count()
}
