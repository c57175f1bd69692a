//! What would happen to a request, stage by stage, without calling anybody.

mod question;
mod shown;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{admit, answer, detail, keys, problem, snapshot};
use crate::account::{AccountHasher, AccountKey};
use crate::config::model::{Action, CachePolicy, Config, Route, State};
use crate::guard::BodyBudget;
use crate::request::{AccountId, Caller, Clock, Facts, Refusal, RequestHead, SystemClock};
use crate::route::RouteTable;
use crate::{access, account, auth, guard, quota, route, transform, vault};

pub use question::{Question, QuestionError};
use shown::Shown;

/// What each stage decides, up to the first that refuses.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explanation {
    /// The route's id.
    pub route: Option<String>,
    /// The stages in request order.
    pub stages: Vec<Finding>,
    /// Status of the refusal, if a stage refuses.
    pub refused: Option<u16>,
    /// The account by whose partition the owner is found; not shown.
    #[serde(skip)]
    pub account: Option<AccountId>,
}

/// What one stage decides and why.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Name of the stage.
    pub stage: &'static str,
    /// `pass`, `refuse` or `skip`.
    pub decision: &'static str,
    /// Why, and what it found.
    pub why: String,
}

/// Goes through the stages. Credentials are read but not verified, as that would need the identity
/// provider; limits and quotas are named, not asked.
pub fn explain(config: &Config, question: &Question) -> Explanation {
    let mut walk = Walk { explanation: Explanation::default() };
    if let Err(refusal) = walk.through(config, question) {
        let told = problem::describe(&refusal);
        // What callers are told has much of it already.
        let told_too = |more: &String| told.detail.to_lowercase().contains(&more.to_lowercase());
        let why = detail::of_refusal(&refusal)
            .filter(|more| !told_too(more))
            .map_or_else(|| told.detail.clone(), |more| format!("{} ({more})", told.detail));
        if let Some(last) = walk.explanation.stages.last_mut() {
            last.decision = "refuse";
            last.why = format!("{} {}: {why}", told.status.as_u16(), told.kind);
        }
        walk.explanation.refused = Some(told.status.as_u16());
    }
    walk.explanation
}

struct Walk {
    explanation: Explanation,
}

impl Walk {
    fn begin(&mut self, stage: &'static str) {
        self.explanation.stages.push(Finding { stage, decision: "pass", why: String::new() });
    }

    fn pass(&mut self, why: impl Into<String>) {
        self.end("pass", why.into());
    }

    fn skip(&mut self, why: &str) {
        self.end("skip", why.to_owned());
    }

    fn end(&mut self, decision: &'static str, why: String) {
        if let Some(last) = self.explanation.stages.last_mut() {
            (last.decision, last.why) = (decision, why);
        }
    }

    fn through(&mut self, config: &Config, question: &Question) -> Result<(), Refusal> {
        self.begin("route");
        let head = head_of(question)?;
        let found = RouteTable::new(&config.routes).find(&head, &question.headers)?;
        let route = config.routes.get(found.index).ok_or(Refusal::NoRoute)?;
        self.explanation.route = Some(route.id.to_string());
        guard::SingleValues::of(route).check(&head, &question.headers)?;
        self.pass(format!("'{}' takes {} {}", route.id, head.method, route.matches.path.source));

        self.begin("auth");
        let caller = self.caller(route, question)?;

        let facts = Facts {
            head: &head,
            headers: &question.headers,
            route: &route.id,
            captures: &found.captures,
            caller: caller.as_ref(),
            account: None,
            body: None,
        };
        self.begin("access");
        access::check(&route.access, &facts)?;
        self.pass("scopes, claims, networks and condition hold");
        self.limits(route);
        guard::check_readable(route, &facts)?;
        self.begin("guard");
        let body = self.guard(route, question)?;
        let facts = Facts { body: body.as_ref(), ..facts };
        self.begin("account");
        let hasher = Hasher::of(&config.state);
        let accounts = self.accounts(route, &facts, &hasher)?;
        self.fleet(config, accounts.first(), &hasher);
        let facts = Facts { account: accounts.first(), ..facts };
        guard::check_readable(route, &facts)?;
        answer::check_target(route, &facts)?;
        self.quotas(route, &facts, &accounts, &hasher);
        let policy = kept_by(route, question).filter(|_| accounts.len() < 2);
        self.cache(route, policy, &facts, &hasher);
        self.upstream(route, policy.is_some(), &facts, &accounts)
    }

    fn caller(&mut self, route: &Route, question: &Question) -> Result<Option<Caller>, Refusal> {
        if route.authenticate.is_empty() {
            self.skip("the route is public");
            return Ok(None);
        }
        let caller =
            auth::read_unverified(&route.authenticate, &question.headers, SystemClock.now())?;
        self.pass(format!(
            "client '{}' of '{}'; the signature is not verified here",
            caller.client, caller.provider
        ));
        Ok(Some(caller))
    }

    fn limits(&mut self, route: &Route) {
        self.begin("limit");
        let rates = route.rates.iter().map(|rate| {
            format!("'{}': {} in {:?}, burst {}", rate.name, rate.requests, rate.window, rate.burst)
        });
        let bounds = route
            .concurrency
            .iter()
            .map(|bound| format!("'{}': {} at once", bound.name, bound.limit));
        let all: Vec<String> = rates.chain(bounds).collect();
        if all.is_empty() {
            self.skip("the route has no rates");
        } else {
            self.pass(format!("would be asked: {}", all.join("; ")));
        }
    }

    fn guard(&mut self, route: &Route, question: &Question) -> Result<Option<Value>, Refusal> {
        BodyBudget::new(route.max_body, u64::try_from(question.body.len()).ok())?;
        let most = route.max_body;
        match (snapshot::reads_body(route), question.body.is_empty()) {
            (false, _) => self.pass(format!("a body of up to {most} bytes passes unread")),
            (true, true) => {
                self.pass(format!("a JSON body of up to {most} bytes is read; none is given here"));
            }
            (true, false) => {
                guard::check_json_media_type(&question.headers)?;
                let (json, edited) = admit::judge_body(route, &question.body)?;
                let edited = if edited.is_some() { " and edited" } else { "" };
                self.pass(format!("the JSON body is read{edited}"));
                return Ok(Some(json));
            }
        }
        Ok(None)
    }

    fn accounts(
        &mut self,
        route: &Route,
        facts: &Facts<'_>,
        hasher: &Hasher,
    ) -> Result<Vec<AccountId>, Refusal> {
        let Some(source) = &route.account else {
            self.skip("the route has no account");
            return Ok(Vec::new());
        };
        let accounts = account::accounts(source, facts)?;
        let keys: Vec<String> = accounts.iter().map(|id| hasher.key(id).to_string()).collect();
        let (number, note) = (count(accounts.len(), "account"), hasher.note);
        self.pass(format!("{number} from {}: {}{note}", source.from, keys.join(", ")));
        Ok(accounts)
    }

    /// Who the owner is, only a running gateway knows.
    fn fleet(&mut self, config: &Config, account: Option<&AccountId>, hasher: &Hasher) {
        let (Some(kafka), Some(_)) = (&config.kafka, &config.fleet) else { return };
        self.begin("fleet");
        let Some(account) = account else {
            return self.skip("without an account it is answered where it arrives");
        };
        let (partition, partitions) =
            (hasher.key(account).partition(kafka.partitions), kafka.partitions);
        self.pass(format!("answered by the owner of partition {partition} of {partitions}"));
        self.explanation.account = Some(account.clone());
    }

    fn quotas(
        &mut self,
        route: &Route,
        facts: &Facts<'_>,
        accounts: &[AccountId],
        hasher: &Hasher,
    ) {
        self.begin("quota");
        let mut charged = Vec::new();
        for account in accounts {
            let facts = Facts { account: Some(account), ..*facts };
            let key = hasher.key(account);
            for rule in &route.quotas {
                charged.push(match quota::Charge::for_request(rule, &facts, &key) {
                    Some(charge) => {
                        let bucket = format!("{} {}", charge.account(), charge.dimensions());
                        let spared = route.cache.is_some() && !rule.count_hits;
                        let unless = if spared { " unless the answer is kept" } else { "" };
                        format!("'{}' charges {}{unless}", rule.name, bucket.trim_end())
                    }
                    None => format!("'{}' does not apply: its condition does not hold", rule.name),
                });
            }
        }
        if charged.is_empty() {
            self.skip("nothing is charged");
        } else {
            self.pass(charged.join("; "));
        }
    }

    fn cache(
        &mut self,
        route: &Route,
        policy: Option<&CachePolicy>,
        facts: &Facts<'_>,
        hasher: &Hasher,
    ) {
        self.begin("vault");
        match (policy, &route.cache) {
            (None, None) => self.skip("the route's answers are not kept"),
            (None, Some(_)) => self.skip(
                "this request's answer is not kept: another method, a body, several accounts, or \
                 the caller's wish",
            ),
            (Some(policy), _) => {
                let key = facts.account.map(|account| hasher.key(account));
                let described = vault::describe(policy, facts, key.as_ref());
                self.pass(format!("fresh for {:?} under {described}", policy.fresh));
            }
        }
    }

    fn upstream(
        &mut self,
        route: &Route,
        keeps: bool,
        facts: &Facts<'_>,
        accounts: &[AccountId],
    ) -> Result<(), Refusal> {
        self.begin("upstream");
        let shown = Shown { route, facts, accounts };
        match &route.action {
            Action::Proxy { cluster, .. } => {
                let endpoints: Vec<String> =
                    cluster.endpoints.iter().map(|e| format!("{}:{}", e.host, e.port)).collect();
                let path = shown.target(keeps)?;
                self.pass(format!("{path} at '{}': {}", cluster.name, endpoints.join(", ")));
            }
            Action::Compose(plan) => {
                let parts = plan.parts.iter().map(|part| {
                    format!("{}: {} at '{}'", part.name, part.path.source, part.cluster.name)
                });
                self.pass(parts.collect::<Vec<_>>().join("; "));
            }
            Action::Redirect { status, to } => {
                self.pass(format!("redirects with {status} to {}", shown.address(to)?));
            }
            Action::Answer { status, .. } => self.pass(format!("answers {status} itself")),
        }
        Ok(())
    }
}

fn head_of(question: &Question) -> Result<RequestHead, Refusal> {
    let host = guard::host_of(&question.headers, &question.url)?;
    Ok(RequestHead {
        method: question.method.clone(),
        https: question.url.scheme_str() == Some("https"),
        host,
        path: route::normalize(question.url.path()).map_err(Refusal::BadPath)?,
        query: question.url.query().map(str::to_owned),
        address: [127, 0, 0, 1].into(),
        certificate_thumbprint: None,
        request_id: transform::request_id(&question.headers, Uuid::nil),
    })
}

/// The route's policy, if the answer to such a request is kept.
fn kept_by<'r>(route: &'r Route, question: &Question) -> Option<&'r CachePolicy> {
    let policy = route.cache.as_ref().filter(|_| question.body.is_empty())?;
    let (method, headers) = (&question.method, &question.headers);
    (!vault::policy::request_bypasses(policy, method, headers)).then_some(policy)
}

/// Makes the keys that stand for accounts.
struct Hasher {
    hasher: AccountHasher,
    /// What is to be said of them.
    note: &'static str,
}

impl Hasher {
    /// With the key of the gateway that runs with this state, so that its log and its admin port
    /// have the same; where that can't be had, good for comparing two requests only.
    fn of(state: &State) -> Self {
        match keys::known_account_key(state) {
            Ok(Some(key)) => Self { hasher: AccountHasher::new(key.reveal().as_bytes()), note: "" },
            Ok(None) | Err(_) => Self {
                hasher: AccountHasher::new(b""),
                note: " (not as in the gateway's log: its account key is neither configured nor \
                       readable in the state directory)",
            },
        }
    }

    fn key(&self, account: &AccountId) -> AccountKey {
        self.hasher.key(account)
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
