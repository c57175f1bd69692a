//! What would happen to a request, stage by stage, without calling anybody.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Serialize;
use uuid::Uuid;

use super::{answer, detail, problem};
use crate::account::AccountHasher;
use crate::config::model::{Action, Config, Route};
use crate::request::{AccountId, Caller, Clock, Facts, Refusal, RequestHead, SystemClock};
use crate::route::RouteTable;
use crate::{access, account, auth, guard, quota, route, transform, vault};

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Question {
    /// Method.
    pub method: Method,
    /// Whole URL.
    pub url: Uri,
    /// Header fields.
    pub headers: HeaderMap,
}

/// What each stage decides, up to the first that refuses.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explanation {
    /// The route's id.
    pub route: Option<String>,
    /// The stages in request order.
    pub stages: Vec<Finding>,
    /// Status of the refusal, if a stage refuses.
    pub refused: Option<u16>,
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

/// Why a text is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Not a method.
    #[error("'{0}' is not a method")]
    Method(String),
    /// Not a whole URL.
    #[error("'{0}' is not a whole URL, as in https://api.bank.example/accounts/4711")]
    Url(String),
    /// Not `name: value`.
    #[error("'{0}' is not a header, as in 'accept: application/json'")]
    Header(String),
}

impl Question {
    /// From texts as typed.
    ///
    /// # Errors
    /// Says which text is wrong.
    pub fn parse(method: &str, url: &str, headers: &[String]) -> Result<Self, QuestionError> {
        let uri: Uri = url.parse().map_err(|_| QuestionError::Url(url.to_owned()))?;
        let host = uri.authority().ok_or_else(|| QuestionError::Url(url.to_owned()))?;
        let mut fields = HeaderMap::new();
        fields.insert(
            http::header::HOST,
            HeaderValue::from_str(host.as_str()).map_err(|_| QuestionError::Url(url.to_owned()))?,
        );
        for header in headers {
            let (name, value) = parse_header(header)?;
            fields.append(name, value);
        }
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| QuestionError::Method(method.to_owned()))?;
        Ok(Self { method, url: uri, headers: fields })
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), QuestionError> {
    let wrong = || QuestionError::Header(text.to_owned());
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    Ok((name, value))
}

/// Goes through the stages. Credentials are read but not verified, as that would need the identity
/// provider; limits and quotas are named, not asked.
pub fn explain(config: &Config, question: &Question) -> Explanation {
    let mut walk = Walk { explanation: Explanation::default() };
    if let Err(refusal) = walk.through(config, question) {
        let told = problem::describe(&refusal, SystemClock.now());
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
        self.begin("account");
        let accounts = self.accounts(route, &facts)?;
        let hasher = AccountHasher::new(account_secret(config).as_bytes());
        self.quotas(route, &facts, &accounts, &hasher);
        self.cache(route, &Facts { account: accounts.first(), ..facts }, &hasher);
        self.upstream(route, &Facts { account: accounts.first(), ..facts })
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

    fn accounts(&mut self, route: &Route, facts: &Facts<'_>) -> Result<Vec<AccountId>, Refusal> {
        let Some(source) = &route.account else {
            self.skip("the route has no account");
            return Ok(Vec::new());
        };
        let accounts = account::accounts(source, facts)?;
        self.pass(format!("{} from {}", count(accounts.len(), "account"), source.from));
        Ok(accounts)
    }

    fn quotas(
        &mut self,
        route: &Route,
        facts: &Facts<'_>,
        accounts: &[AccountId],
        hasher: &AccountHasher,
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

    fn cache(&mut self, route: &Route, facts: &Facts<'_>, hasher: &AccountHasher) {
        self.begin("vault");
        match &route.cache {
            None => self.skip("the route's answers are not kept"),
            Some(policy) => {
                let key = facts.account.map(|account| hasher.key(account));
                let described = vault::describe(policy, facts, key.as_ref());
                self.pass(format!("fresh for {:?} under {described}", policy.fresh));
            }
        }
    }

    fn upstream(&mut self, route: &Route, facts: &Facts<'_>) -> Result<(), Refusal> {
        self.begin("upstream");
        match &route.action {
            Action::Proxy { cluster, .. } => {
                let endpoints: Vec<String> =
                    cluster.endpoints.iter().map(|e| format!("{}:{}", e.host, e.port)).collect();
                let path = answer::target(route, facts, route.cache.is_some())?;
                self.pass(format!("{path} at '{}': {}", cluster.name, endpoints.join(", ")));
            }
            Action::Compose(plan) => {
                let parts = plan.parts.iter().map(|part| {
                    format!("{}: {} at '{}'", part.name, part.path.source, part.cluster.name)
                });
                self.pass(parts.collect::<Vec<_>>().join("; "));
            }
            Action::Redirect { status, to } => {
                self.pass(format!("redirects with {status} to {to}"))
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
        request_id: transform::request_id(&question.headers, Uuid::nil()),
    })
}

/// Where the key of the running gateway is not configured, it is not known here: keys shown are
/// then those of an empty secret, good for comparing two requests only.
fn account_secret(config: &Config) -> Arc<str> {
    config.state.account_key.as_ref().map_or_else(|| "".into(), |key| key.reveal().into())
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
