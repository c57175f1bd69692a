use serde::Serialize;

use super::{Exchange, StageTimes};
use crate::request::RouteId;

/// The line of a request, with its line end: names of the Elastic Common Schema 8, and under
/// `tollgate` what ECS has no name for. What is not known is left out.
///
/// Written member by member: every request pays for it, and a serialiser looks at each name anew.
pub(super) fn line(exchange: &Exchange<'_>) -> Vec<u8> {
    let mut line = Object::begin(Vec::with_capacity(1024));
    line.text("@timestamp", &exchange.started.rfc3339());
    line.object("event", |event| {
        event.number("duration", (exchange.seconds * 1e9).round() as u64);
        event.text("outcome", outcome(exchange));
    });
    line.object("http", |http| write_http(http, exchange));
    line.object("url", |url| {
        url.known("domain", exchange.host);
        url.known("path", exchange.path);
    });
    line.object("client", |client| {
        if let Some(address) = &exchange.address {
            client.value("ip", address);
        }
    });
    if !exchange.trace_id.is_empty() {
        line.object("trace", |trace| trace.text("id", exchange.trace_id));
    }
    line.object("tollgate", |own| write_own(own, exchange));
    let mut bytes = line.end();
    bytes.push(b'\n');
    bytes
}

fn write_http(http: &mut Object, exchange: &Exchange<'_>) {
    http.known("version", exchange.version);
    http.object("request", |request| {
        request.text("id", exchange.request_id);
        request.known("method", exchange.method);
        request.object("body", |body| body.number("bytes", exchange.bytes_received as u64));
    });
    http.object("response", |response| {
        response.number("status_code", exchange.status.into());
        response.object("body", |body| body.number("bytes", exchange.bytes_sent as u64));
    });
}

fn write_own(own: &mut Object, exchange: &Exchange<'_>) {
    own.maybe("route", exchange.route.map(RouteId::as_str));
    own.maybe("client", exchange.client);
    own.maybe("account", exchange.account);
    own.text("source", exchange.source.word());
    own.flag("passed_on", exchange.passed_on);
    own.maybe("problem", exchange.problem);
    own.maybe("detail", exchange.detail);
    own.maybe("endpoint", exchange.endpoint);
    own.number("tries", exchange.tries.into());
    if !exchange.missing_parts.is_empty() {
        own.value("missing_parts", exchange.missing_parts);
    }
    if let Some(remaining) = exchange.quota_remaining {
        own.number("quota_remaining", remaining);
    }
    own.flag("unaccounted", exchange.unaccounted);
    own.object("stage_us", |stages| write_stages(stages, exchange.stages));
}

fn write_stages(stages: &mut Object, times: StageTimes) {
    for (stage, seconds) in times.iter() {
        stages.number(stage.word(), (seconds * 1e6).round() as u64);
    }
}

/// A JSON object while it is written. Names must need no escapes; values may be anything.
struct Object {
    bytes: Vec<u8>,
    has_members: bool,
}

impl Object {
    fn begin(mut bytes: Vec<u8>) -> Self {
        bytes.push(b'{');
        Self { bytes, has_members: false }
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(b'}');
        self.bytes
    }

    fn name(&mut self, name: &'static str) {
        let before: &[u8] =
            if std::mem::replace(&mut self.has_members, true) { b",\"" } else { b"\"" };
        self.bytes.extend_from_slice(before);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    fn value(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        // Writing into memory can't fail, and no key is anything but a text.
        let _ = serde_json::to_writer(&mut self.bytes, value);
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.value(name, text);
    }

    /// Left out if it is empty.
    fn known(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    fn maybe(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Left out if it is not so.
    fn flag(&mut self, name: &'static str, is_so: bool) {
        if is_so {
            self.name(name);
            self.bytes.extend_from_slice(b"true");
        }
    }

    fn object(&mut self, name: &'static str, write: impl FnOnce(&mut Self)) {
        self.name(name);
        let mut inner = Self::begin(std::mem::take(&mut self.bytes));
        write(&mut inner);
        self.bytes = inner.end();
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
