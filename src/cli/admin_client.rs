//! Calls to the admin port of a running gateway.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::args::{AdminArgs, PurgeArgs};
use super::output::complain;
use super::{Exit, Output};

/// The gateway that owns an account, as the one at this admin port sees it.
///
/// # Errors
/// It can't be reached, or says nothing of the kind.
pub(super) fn owner_of(admin: &str, account: &str) -> Result<String, Box<dyn std::error::Error>> {
    let admin = AdminArgs { admin: admin.to_owned(), token: None, json: true };
    let path = format!("/quotas/{}", escaped(account));
    let (status, view) = call(&admin, reqwest::Method::GET, &path, None)?;
    match view.get("owner").and_then(Value::as_str) {
        Some(owner) => Ok(owner.to_owned()),
        None if status.is_success() => Ok("nobody owns it just now".to_owned()),
        None => Err(format!("{} answers {}", admin.admin, status.as_u16()).into()),
    }
}

/// Prints what an account has used.
pub(super) fn show_quota(out: &mut Output, admin: &AdminArgs, account: &str) -> Exit {
    let path = format!("/quotas/{}", escaped(account));
    run(out, admin, reqwest::Method::GET, &path, None, |out, view| {
        let buckets = view["quotas"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(owner) = view["owner"].as_str() {
            out.line(format_args!("partition {}, owned by {owner}", view["partition"]));
        }
        if buckets.is_empty() {
            out.line("no uses are counted for this account");
        }
        for bucket in buckets {
            out.line(format_args!("{}", quota_line(bucket)));
        }
    })
}

fn quota_line(bucket: &Value) -> String {
    let text = |name: &str| bucket[name].as_str().unwrap_or_default().to_owned();
    let limit = bucket["limit"].as_u64().map_or_else(|| "?".to_owned(), |limit| limit.to_string());
    format!(
        "{:<20} {:<30} {:>6} of {:<6} until {}",
        text("rule"),
        text("dimensions"),
        bucket["used"],
        limit,
        text("resets_at"),
    )
}

/// Gives an account all its quotas back.
pub(super) fn reset_quota(out: &mut Output, admin: &AdminArgs, account: &str) -> Exit {
    let path = format!("/quotas/{}/reset", escaped(account));
    run(out, admin, reqwest::Method::POST, &path, None, |out, done| {
        out.line(format_args!("given back: {}", count(&done["buckets"], "count")));
    })
}

/// Prints who owns which quota partitions, as one gateway sees it.
pub(super) fn show_fleet(out: &mut Output, admin: &AdminArgs) -> Exit {
    run(out, admin, reqwest::Method::GET, "/fleet", None, |out, view| {
        out.line(format_args!("seen by {}", view["gateway"].as_str().unwrap_or_default()));
        if let Some(trouble) = view.pointer("/journal/trouble").and_then(Value::as_str) {
            out.line(format_args!("journal: {trouble}"));
        }
        let findings = view.pointer("/journal/unsafe").and_then(Value::as_array);
        for finding in findings.into_iter().flatten().filter_map(Value::as_str) {
            out.line(format_args!("{finding}"));
        }
        out.line(format_args!(
            "{:>9}  {:<28} {:>10} {:>12} {:>10} {:<18} last claimed here",
            "partition", "owner", "epoch", "next offset", "accounts", "role here"
        ));
        for partition in view["partitions"].as_array().map(Vec::as_slice).unwrap_or_default() {
            out.line(format_args!("{}", partition_line(partition)));
        }
    })
}

fn partition_line(partition: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |n| n.to_string());
    let claimed = &partition["claimed"];
    let claimed = match claimed["at"].as_str() {
        Some(at) => format!("{at} ({})", text(&claimed["reason"])),
        None => "-".to_owned(),
    };
    let line = format!(
        "{:>9}  {:<28} {:>10} {:>12} {:>10} {:<18} {claimed}",
        number(&partition["partition"]),
        text(&partition["owner"]),
        number(&partition["epoch"]),
        number(&partition["next_offset"]),
        number(&partition["accounts"]),
        text(&partition["role"]),
    );
    match partition["error"].as_str() {
        Some(error) => format!("{line}\n{:>11}{error}", ""),
        None => line,
    }
}

/// Says whether a gateway is ready, and if not, why.
pub(super) fn show_readiness(out: &mut Output, admin: &AdminArgs) -> Exit {
    let (status, view) = match call(admin, reqwest::Method::GET, "/ready", None) {
        Ok(answer) => answer,
        Err(error) => return not_reached(admin, &*error),
    };
    if admin.json {
        out.line(format_args!("{view:#}"));
    } else {
        let ready = if status.is_success() { "ready" } else { "not ready" };
        let whys = ["reasons", "degraded"].map(|name| view.get(name).and_then(Value::as_array));
        let whys: Vec<_> = whys.into_iter().flatten().flatten().filter_map(Value::as_str).collect();
        out.line(format_args!("{}", [&[ready], &whys[..]].concat().join("\n  ")));
    }
    if status.is_success() { Exit::Done } else { Exit::Refused }
}

/// Prints which answers of an account are kept.
pub(super) fn show_cache(out: &mut Output, admin: &AdminArgs, account: &str) -> Exit {
    let path = format!("/cache/{}", escaped(account));
    run(out, admin, reqwest::Method::GET, &path, None, |out, view| {
        let answers = view["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
        if answers.is_empty() {
            out.line("no answers are kept for this account");
        }
        for answer in answers {
            out.line(format_args!(
                "{:<20} {:>9} bytes  visible to {:<10} fresh until {}",
                answer["route"].as_str().unwrap_or_default(),
                answer["bytes"],
                answer["visible_to"].as_str().unwrap_or_default(),
                answer["fresh_until"].as_str().unwrap_or_default(),
            ));
        }
    })
}

/// Removes answers.
pub(super) fn purge_cache(out: &mut Output, admin: &AdminArgs, what: &PurgeArgs) -> Exit {
    let body = match (&what.account, &what.route) {
        (Some(account), _) => json!({ "account": account }),
        (None, Some(route)) => json!({ "route": route }),
        (None, None) => json!({ "all": true }),
    };
    run(out, admin, reqwest::Method::POST, "/cache/purge", Some(body), |out, done| {
        out.line(format_args!("removed: {}", count(&done["entries"], "answer")));
        if let (Some(route), Some(false)) = (&what.route, done["route_in_use"].as_bool()) {
            complain(format_args!(
                "note: no route '{route}' is in use; GET /routes lists those that are"
            ));
        }
    })
}

/// `1 answer`, `2 answers`.
fn count(number: &Value, what: &str) -> String {
    format!("{number} {what}{}", if number.as_u64() == Some(1) { "" } else { "s" })
}

fn escaped(account: &str) -> String {
    utf8_percent_encode(account, NON_ALPHANUMERIC).to_string()
}

/// For the new process to be prepared and take over, or to fail and the old one to serve again.
const UPGRADE: Duration = Duration::from_secs(150);

/// Has a new process take over, and says which.
pub(super) fn upgrade(out: &mut Output, admin: &AdminArgs) -> Exit {
    let answer = call_within(UPGRADE, admin, reqwest::Method::POST, "/upgrade", None);
    show_answer(out, admin, answer, |out, done| {
        let text = |name: &str| done[name].as_str().unwrap_or_default().to_owned();
        out.line(format_args!(
            "process {} has taken over: {} ({}); process {} ends what it has begun",
            done["process"],
            text("version"),
            text("commit"),
            done["replaced"],
        ));
    })
}

fn run(
    out: &mut Output,
    admin: &AdminArgs,
    method: reqwest::Method,
    path: &str,
    body: Option<Value>,
    show: impl FnOnce(&mut Output, &Value),
) -> Exit {
    show_answer(out, admin, call(admin, method, path, body), show)
}

type Called = Result<(reqwest::StatusCode, Value), Box<dyn std::error::Error>>;

fn show_answer(
    out: &mut Output,
    admin: &AdminArgs,
    called: Called,
    show: impl FnOnce(&mut Output, &Value),
) -> Exit {
    match called {
        Ok((status, answer)) if status.is_success() => {
            if admin.json {
                out.line(format_args!("{answer:#}"));
            } else {
                show(out, &answer);
            }
            Exit::Done
        }
        Ok((status, answer)) => {
            let detail = answer.get("detail").and_then(Value::as_str);
            let detail = detail.unwrap_or("no reason was given");
            complain(format_args!("refused ({}): {detail}", status.as_u16()));
            if status == reqwest::StatusCode::UNAUTHORIZED {
                let what = if admin.token.is_some() { "another token" } else { "a token" };
                complain(format_args!(
                    "hint: put {what} into TOLLGATE_ADMIN_TOKEN: `admin.token` of the gateway's configuration"
                ));
            }
            Exit::Refused
        }
        Err(error) => not_reached(admin, &*error),
    }
}

fn not_reached(admin: &AdminArgs, error: &dyn std::error::Error) -> Exit {
    complain(format_args!("the admin port {} can't be reached: {error}", admin.admin));
    complain("hint: --admin names another one; is the gateway running?");
    Exit::Unreachable
}

fn call(admin: &AdminArgs, method: reqwest::Method, path: &str, body: Option<Value>) -> Called {
    call_within(Duration::from_secs(10), admin, method, path, body)
}

fn call_within(
    within: Duration,
    admin: &AdminArgs,
    method: reqwest::Method,
    path: &str,
    body: Option<Value>,
) -> Called {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(within).build()?;
        let url = format!("{}{path}", admin.admin.trim_end_matches('/'));
        let mut request = client.request(method, url);
        if let Some(token) = &admin.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        let answer = serde_json::from_str(&text).unwrap_or_else(|_| json!({ "detail": text }));
        Ok((status, answer))
    })
}
