use serde_json::json;

use super::*;
use crate::config::model::Dialect;
use crate::request::{LimitState, UnixMillis};

fn quota() -> Refusal {
    Refusal::QuotaExceeded(QuotaRefusal {
        state: LimitState {
            policy: "unattended".into(),
            limit: 4,
            window: Duration::from_secs(86_400),
            remaining: 0,
            reset: Duration::from_millis(3_600_500),
            account: None,
        },
        resets: NOW.plus(Duration::from_millis(3_600_500)),
        used: 4,
        partition: 3,
        offset: 17,
    })
}

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

#[test]
fn an_exceeded_quota_says_why_and_until_when_and_nothing_internal() {
    let problem = describe(&quota());
    let (media_type, body) = problem.body(&quota(), Dialect::Problem, "r-1");
    assert_eq!(media_type, "application/problem+json");
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(body["status"], 429);
    assert_eq!(body["violated-policies"], json!(["unattended"]));
    assert_eq!(body["retry-after"], 3601);
    assert_eq!(
        body["detail"],
        "The quota 'unattended' allows 4 uses of this account in 24 hours; 4 are used. More \
         are available at 2023-11-14T23:13:20.500Z."
    );
    assert!(!body.to_string().contains("offset"));
}

#[test]
fn of_several_accounts_the_one_whose_quota_is_used_up_is_named() {
    let Refusal::QuotaExceeded(mut refusal) = quota() else { unreachable!() };
    refusal.state.account = Some(crate::request::AccountId::parse("303").unwrap());
    let refusal = Refusal::QuotaExceeded(refusal);
    let problem = describe(&refusal);
    let (_, body) = problem.body(&refusal, Dialect::Problem, "r-1");
    assert_eq!(body["account"], "303");
    assert!(!problem.detail.contains("303"), "the detail may stand in a log");
}

/// One refusal of every kind.
fn every_refusal() -> Vec<Refusal> {
    let state = LimitState {
        policy: "burst".into(),
        limit: 10,
        window: Duration::from_secs(1),
        remaining: 0,
        reset: Duration::from_millis(100),
        account: None,
    };
    let cluster: std::sync::Arc<str> = "cards".into();
    vec![
        Refusal::BadPath(crate::request::PathError::BrokenEscape),
        Refusal::BadRequest("it has two Host fields"),
        Refusal::SeveralValues { of: "query.class".into() },
        Refusal::OtherSpelling { of: "query.class".into() },
        Refusal::UnreadableValue { of: "header.x-app".into() },
        Refusal::ValueMissing { source: "query.id".into() },
        Refusal::NoRoute,
        Refusal::MethodNotAllowed { allow: vec![http::Method::GET, http::Method::HEAD] },
        Refusal::MethodNotAllowed { allow: Vec::new() },
        Refusal::UriTooLong,
        Refusal::HeadersTooLarge,
        Refusal::HeadTimeout,
        Refusal::Unauthenticated(Challenge::Missing),
        Refusal::Unauthenticated(Challenge::Malformed("more than one Authorization field")),
        Refusal::Unauthenticated(Challenge::Invalid("the token has expired")),
        Refusal::IdentityUnavailable,
        Refusal::MissingScope { required: "accounts:read".into(), one_is_enough: false },
        Refusal::MissingScope { required: "accounts:read payments".into(), one_is_enough: true },
        Refusal::Forbidden { rule: "networks".into() },
        Refusal::RateLimited(state),
        Refusal::TooManyInProgress { limit: "exports".into() },
        Refusal::BodyTooLarge { limit: 1024 },
        Refusal::UnsupportedMediaType,
        Refusal::MalformedBody("it is empty"),
        Refusal::BodyTimeout,
        Refusal::AccountMissing { source: "path.account".into() },
        Refusal::AccountInvalid(crate::request::AccountError::Empty),
        Refusal::AccountMismatch,
        quota(),
        Refusal::QuotaUnavailable { rule: "unattended".into() },
        Refusal::OwnerUnreachable,
        Refusal::NotOwner { partition: 3 },
        Refusal::NoEndpoint { cluster: cluster.clone() },
        Refusal::UpstreamFailed { cluster: cluster.clone() },
        Refusal::BackendError { status: StatusCode::NOT_FOUND },
        Refusal::BackendError { status: StatusCode::INTERNAL_SERVER_ERROR },
        Refusal::UpstreamTimeout { cluster },
        Refusal::PartFailed { part: "cards".into(), timed_out: false },
        Refusal::PartFailed { part: "cards".into(), timed_out: true },
        Refusal::NotCached,
        Refusal::DeadlineExceeded,
        Refusal::Internal,
    ]
}

/// The README shows an answer beside the configuration that it comes from: it must be one that
/// this configuration gives.
#[test]
fn the_readmes_refusal_is_what_its_configuration_answers() {
    let readme = include_str!("../../../README.md");
    let block = |language: &str| {
        let (_, after) = readme.split_once(&format!("```{language}\n")).unwrap();
        after.split_once("\n```").unwrap().0
    };
    let shown: serde_json::Value = serde_json::from_str(block("json")).unwrap();
    let config: serde_json::Value = serde_saphyr::from_str(block("yaml")).unwrap();
    let rule = &config["quotas"]["unattended"];
    assert_eq!((&rule["window"], &rule["rolling"]), (&json!("24h"), &json!(true)));
    let limit = rule["limit"].as_u64().unwrap();
    let wait = shown["retry-after"].as_u64().unwrap();
    let detail = shown["detail"].as_str().unwrap();
    let until = detail.rsplit(' ').next().unwrap().trim_end_matches(".");
    let refusal = Refusal::QuotaExceeded(QuotaRefusal {
        state: LimitState {
            policy: "unattended".into(),
            limit,
            window: Duration::from_secs(86_400),
            remaining: 0,
            reset: Duration::from_secs(wait),
            account: None,
        },
        resets: NOW.plus(Duration::from_secs(wait)),
        used: limit,
        partition: 0,
        offset: 0,
    });
    let id = shown["instance"].as_str().unwrap().trim_start_matches("urn:request:");
    let (_, mut told) = describe(&refusal).body(&refusal, Dialect::Problem, id);
    // The time of day is the reader's to imagine; its form is not.
    let told_until = told["detail"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(told_until.len(), until.len() + 1);
    told["detail"] =
        told["detail"].as_str().unwrap().replace(&told_until, &format!("{until}.")).into();
    assert_eq!(told, shown);
    let order = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(order(&told), order(&shown));
}

#[test]
fn every_problem_stands_in_the_docs_with_its_status() {
    let docs = include_str!("../../../docs/problems.md");
    for refusal in every_refusal() {
        let problem = describe(&refusal);
        let row = format!("| {} | `{}` |", problem.status.as_u16(), problem.kind);
        assert!(docs.contains(&row), "{row} is missing from docs/problems.md");
    }
}

#[test]
fn every_problem_in_every_dialect_reads_as_it_did() {
    let mut text = String::new();
    for refusal in every_refusal() {
        let problem = describe(&refusal);
        for dialect in [Dialect::Problem, Dialect::Fdx, Dialect::BerlinGroup] {
            text.push_str(&problem.body(&refusal, dialect, "r-1").1.to_string());
            text.push('\n');
        }
        for (name, value) in headers(&refusal) {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn no_problem_tells_what_is_inside() {
    for refusal in every_refusal() {
        let body = describe(&refusal).body(&refusal, Dialect::Problem, "r-1").1.to_string();
        for inside in ["cards", "networks", "offset", "partition"] {
            assert!(!body.contains(inside), "{body}");
        }
    }
}

#[test]
fn retry_after_is_rounded_up() {
    let retry = headers(&quota()).into_iter().find(|(name, _)| name == header::RETRY_AFTER);
    assert_eq!(retry.unwrap().1, "3601");
}

#[test]
fn each_api_family_hears_its_own_dialect() {
    let problem = describe(&quota());
    let (_, fdx) = problem.body(&quota(), Dialect::Fdx, "r-1");
    assert_eq!(fdx["code"], "429");
    let (_, berlin) = problem.body(&quota(), Dialect::BerlinGroup, "r-1");
    assert_eq!(berlin["tppMessages"][0]["code"], "ACCESS_EXCEEDED");
}
