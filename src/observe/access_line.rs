use std::net::IpAddr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Exchange, StageTimes};
use crate::request::RouteId;

/// The line of a request, with its line end: names of the Elastic Common Schema 8, and under
/// `tollgate` what ECS has no name for. What is not known is left out. Written straight
/// to bytes, since every request pays for it.
pub(super) fn line(exchange: &Exchange<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    // Writing into memory can't fail, and no key is anything but a text.
    let _ = serde_json::to_writer(&mut bytes, &Line::of(exchange));
    bytes.push(b'\n');
    bytes
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    event: Outcome,
    http: Http<'a>,
    url: Url<'a>,
    client: Client,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Trace<'a>>,
    tollgate: Own<'a>,
}

#[derive(Serialize)]
struct Outcome {
    /// Nanoseconds.
    duration: u64,
    outcome: &'static str,
}

#[derive(Serialize)]
struct Http<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    request: Request<'a>,
    response: Response,
}

#[derive(Serialize)]
struct Request<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    body: Body,
}

#[derive(Serialize)]
struct Response {
    status_code: u16,
    body: Body,
}

#[derive(Serialize)]
struct Body {
    bytes: usize,
}

#[derive(Serialize)]
struct Url<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
}

#[derive(Serialize)]
struct Client {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
}

#[derive(Serialize)]
struct Trace<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct Own<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    source: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    passed_on: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    tries: u32,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    missing_parts: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_remaining: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unaccounted: bool,
    stage_us: StageMicroseconds,
}

struct StageMicroseconds(StageTimes);

impl Serialize for StageMicroseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (stage, seconds) in self.0.iter() {
            map.serialize_entry(stage.word(), &((seconds * 1e6).round() as u64))?;
        }
        map.end()
    }
}

impl<'a> Line<'a> {
    fn of(exchange: &Exchange<'a>) -> Self {
        Self {
            timestamp: exchange.started.rfc3339(),
            event: Outcome {
                duration: (exchange.seconds * 1e9).round() as u64,
                outcome: outcome(exchange),
            },
            http: Http {
                version: exchange.version,
                request: Request {
                    id: exchange.request_id,
                    method: exchange.method,
                    body: Body { bytes: exchange.bytes_received },
                },
                response: Response {
                    status_code: exchange.status,
                    body: Body { bytes: exchange.bytes_sent },
                },
            },
            url: Url { domain: exchange.host, path: exchange.path },
            client: Client { ip: exchange.address },
            trace: Some(Trace { id: exchange.trace_id }).filter(|trace| !trace.id.is_empty()),
            tollgate: Own::of(exchange),
        }
    }
}

impl<'a> Own<'a> {
    fn of(exchange: &Exchange<'a>) -> Self {
        Self {
            route: exchange.route.map(RouteId::as_str),
            client: exchange.client,
            account: exchange.account,
            source: exchange.source.word(),
            passed_on: exchange.passed_on,
            problem: exchange.problem,
            detail: exchange.detail,
            endpoint: exchange.endpoint,
            tries: exchange.tries,
            missing_parts: exchange.missing_parts,
            quota_remaining: exchange.quota_remaining,
            unaccounted: exchange.unaccounted,
            stage_us: StageMicroseconds(exchange.stages),
        }
    }
}

/// A problem may come when a success has been announced already.
fn outcome(exchange: &Exchange<'_>) -> &'static str {
    match exchange.status {
        _ if exchange.problem.is_some() => "failure",
        100..=399 => "success",
        400..=599 => "failure",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stage::times;
    use crate::observe::{Source, Stage};
    use crate::request::UnixMillis;

    #[test]
    fn a_line_has_ecs_names_and_microseconds_for_each_stage() {
        let route = RouteId::new("summary");
        let line = line(&Exchange {
            started: UnixMillis(1_700_000_000_123),
            seconds: 0.012,
            method: "GET",
            path: "/accounts/{account}/summary",
            route: Some(&route),
            status: 200,
            source: Source::Cache,
            quota_remaining: Some(2),
            stages: times(Stage::Auth, 0.000_01),
            ..Exchange::default()
        });
        assert!(line.ends_with(b"}\n"));
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["@timestamp"], "2023-11-14T22:13:20.123Z");
        assert_eq!(line["http"]["response"]["status_code"], 200);
        assert_eq!(line["event"]["duration"], 12_000_000);
        assert_eq!(line["tollgate"]["route"], "summary");
        assert_eq!(line["tollgate"]["source"], "cache");
        assert_eq!(line["tollgate"]["quota_remaining"], 2);
        assert_eq!(line["tollgate"]["stage_us"]["auth"], 10);
        assert!(line["tollgate"].get("problem").is_none(), "{line}");
    }

    fn told(exchange: &Exchange<'_>) -> serde_json::Value {
        serde_json::from_slice(&line(exchange)).unwrap()
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let line = told(&Exchange { request_id: "1", status: 400, ..Exchange::default() });
        for absent in ["/http/version", "/http/request/method", "/url/path", "/client/ip", "/trace"]
        {
            assert!(line.pointer(absent).is_none(), "{absent}: {line}");
        }
        assert_eq!(line["http"]["request"]["id"], "1");
    }

    #[test]
    fn a_success_that_broke_off_is_a_failure() {
        let outcome = |status, problem| {
            told(&Exchange { status, problem, ..Exchange::default() })["event"]["outcome"].clone()
        };
        assert_eq!(outcome(200, None), "success");
        assert_eq!(outcome(200, Some("deadline-exceeded")), "failure");
        assert_eq!(outcome(503, None), "failure");
        assert_eq!(outcome(0, None), "unknown");
    }
}
