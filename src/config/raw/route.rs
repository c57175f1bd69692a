use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compose::present;
use super::{
    Bytes, Compose, Duration, Fields, NAME_PATTERN, OneOrMany, RequestEdits, ResponseEdits,
};
use super::{mebibytes, seconds};

/// What a request matches, with every policy that applies to it. Exactly one of `cluster`,
/// `compose`, `redirect` and `answer` says what answers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name, in metrics, logs and keys.
    #[schemars(regex(pattern = NAME_PATTERN))]
    pub id: String,
    /// Which requests are its.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Names of the identity providers whose tokens it accepts, or `none` for a public route. A
    /// route without this key is refused: nothing is public by oversight.
    pub authenticate: Option<OneOrMany<String>>,
    /// Scopes that the caller needs: a list of which every one is needed, or `all` and `any`.
    pub scopes: Option<Scopes>,
    /// Claims that the caller's token must have, by name; dots step into objects.
    #[serde(default)]
    pub claims: Fields<ClaimCheck>,
    /// Networks (CIDR) from which it may be called. Without any, from everywhere.
    #[serde(default)]
    pub networks: Vec<String>,
    /// CEL condition that must hold. One that fails refuses.
    #[schemars(length(min = 1))]
    pub condition: Option<String>,
    /// Names of rates, checked in this order.
    #[serde(default)]
    pub rates: Vec<String>,
    /// Names of bounds on requests in progress.
    #[serde(default)]
    pub concurrency: Vec<String>,
    /// Largest request body. Where the gateway reads it itself (for the account, a quota or edits)
    /// 64KiB is the most, and the default.
    #[serde(default = "mebibytes::<1>")]
    pub max_body: Bytes,
    /// Where the account stands: `path.NAME`, `query.NAME`, `header.NAME`, `claim.NAME` or
    /// `body./pointer`. Without it the route has no account, no quotas and no cache.
    pub account: Option<Account>,
    /// Names of quota rules; a request is charged to all of them or to none.
    #[serde(default)]
    pub quotas: Vec<String>,
    /// Keeps answers to GET and gives them again. Without it none are kept.
    pub cache: Option<CachePolicy>,
    /// Name of the cluster that answers.
    pub cluster: Option<String>,
    /// Changes what the cluster is asked. Without it the request's own path is sent, and as `Host` the
    /// endpoint's own address; the caller's host stands in `x-forwarded-host`.
    #[serde(default)]
    pub rewrite: Option<Rewrite>,
    /// Many clusters answer, as one.
    pub compose: Option<Compose>,
    /// A redirect answers.
    pub redirect: Option<Redirect>,
    /// A fixed text answers.
    pub answer: Option<Answer>,
    /// Edits on the way to the backend.
    #[serde(default)]
    pub request: RequestEdits,
    /// Edits on the way back.
    #[serde(default)]
    pub response: ResponseEdits,
    /// Form of refusals and errors.
    #[serde(default)]
    pub dialect: Dialect,
    /// Time for the whole request. Without it the cluster's deadlines count.
    pub deadline: Option<Duration>,
}

/// Which requests a route takes. All that is stated must match.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Any of these hosts: `api.bank.example`, or `*.bank.example` for all names below. Without
    /// any, every host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The path: `/accounts` exactly, `/accounts/*` with everything below, `{name}` for one
    /// segment, `{*name}` at the end for one or more.
    pub path: String,
    /// Any of these methods; GET takes HEAD as well. Without any, every method.
    #[serde(default)]
    pub methods: Vec<Method>,
    /// Header fields: an exact value, `{present: true}` or `{absent: true}`.
    #[serde(default)]
    pub headers: Fields<TextMatch>,
    /// Query parameters: an exact value, `{present: true}` or `{absent: true}`.
    #[serde(default)]
    pub query: Fields<TextMatch>,
}

/// A method (RFC 9110 section 9, RFC 5789).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// How a header field or query parameter must be.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TextMatch {
    /// Exactly this value.
    Exact(String),
    /// There or not there.
    Presence(Presence),
}

/// Whether something is there; exactly one of these keys.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Presence {
    /// It is there, with any value.
    pub present: Option<bool>,
    /// It is not there.
    pub absent: Option<bool>,
}

/// Scopes that a caller needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Scopes {
    /// Every one of these.
    List(#[schemars(length(min = 1))] Vec<String>),
    /// By rule.
    Rules(ScopeRules),
}

/// Scopes that a caller needs, by rule.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1))]
pub struct ScopeRules {
    /// Every one of these.
    pub all: Vec<String>,
    /// At least one of these.
    pub any: Vec<String>,
}

/// How a claim must be; exactly one of these keys.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct ClaimCheck {
    /// This value.
    #[serde(deserialize_with = "present")]
    pub equals: Option<Value>,
    /// A list that has this value, or a text that has it as a word.
    #[serde(deserialize_with = "present")]
    pub contains: Option<Value>,
    /// One of these values.
    #[schemars(length(min = 1))]
    pub one_of: Option<Vec<Value>>,
}

/// Where the account stands.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Account {
    /// A place.
    From(String),
    /// A place, and what must agree with it.
    Rules(AccountRules),
}

/// Where the account stands, and what must agree with it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountRules {
    /// The place: `path.NAME`, `query.NAME`, `header.NAME`, `claim.NAME` or `body./pointer`.
    pub from: String,
    /// A claim whose list must have the account, or another place in the request that must name the
    /// same and no other. Otherwise the request is refused.
    pub agrees_with: Option<String>,
    /// One character that parts several accounts in one value. With it all values of the place
    /// count, every parameter, field or list item of its name, and each account is charged, or
    /// none; at most 50 in one request. Without it a request that names two is refused.
    #[schemars(length(min = 1, max = 1))]
    pub separator: Option<String>,
}

/// How answers are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CachePolicy {
    /// How long an answer is fresh.
    pub fresh: Duration,
    /// Who shares it. There is no default: it decides who sees whose data.
    pub visible_to: Visibility,
    /// Query parameters that make different answers; all others are ignored, and the backend does
    /// not get them. Without this key all of them do.
    pub query: Option<Vec<String>>,
    /// Request header fields that make different answers. Where everyone shares them, and for
    /// composed answers, the backend gets no other field of the caller but `Authorization`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// How long after that an answer is still given when the backend fails (RFC 5861).
    #[serde(default = "seconds::<0>")]
    pub stale_if_error: Duration,
    /// Whether an answer with parts missing is kept.
    #[serde(default)]
    pub keep_partial: bool,
    /// Whether the request's `Cache-Control: no-cache` and `no-store` are obeyed.
    #[serde(default)]
    pub obey_request: bool,
    /// What the answers show (`balances`, `cards`), in the words of the change events that backends
    /// send by Kafka: an event of another class leaves them. Without it every event about the
    /// account removes them.
    #[schemars(length(min = 1))]
    pub data_classes: Option<Vec<String>>,
}

/// Who shares a cached answer.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// The client that caused it.
    Client,
    /// The client and subject that caused it.
    Subject,
    /// Every caller who may use the route.
    Everyone,
}

/// Changes what a cluster is asked.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1))]
pub struct Rewrite {
    /// Path and query sent, with values of the request in braces: `/v1/{account}`. A parameter of
    /// the query whose `{query.NAME}` the caller did not send is left out; any other value that is
    /// absent refuses the request. Without a query of its own the request's goes along.
    pub path: Option<String>,
    /// Host sent.
    pub host: Option<String>,
}

/// A redirect (RFC 9110 section 15.4).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Where to, with values of the request in braces: `https://api.bank.example/{rest}`. What of
    /// them is absent is treated as in `rewrite.path`.
    #[schemars(length(min = 1))]
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "permanent")]
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: u16,
}

fn permanent() -> u16 {
    308
}

/// A fixed answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// Its status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Its header fields, at most 100.
    pub headers: Fields<String>,
    /// Its body.
    pub body: String,
}

impl Default for Answer {
    fn default() -> Self {
        Self { status: 200, headers: Fields::default(), body: String::new() }
    }
}

/// Form of refusals and errors.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// `application/problem+json` (RFC 9457).
    #[default]
    Problem,
    /// `code`, `message`, `debugMessage` (Financial Data Exchange API).
    Fdx,
    /// `tppMessages` (Berlin Group NextGenPSD2).
    BerlinGroup,
}
