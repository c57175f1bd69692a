//! Header fields on their way to the backend and back.

use bytes::Bytes;
use http::Response;
use serde_json::json;

use super::{echo, echoed, field, raw, start};
use crate::support::gateway::base_config;
use crate::support::{Backend, Bank, Tollgate, eventually};

#[tokio::test]
async fn request_fields_are_removed_renamed_set_and_added_with_values_of_the_request() {
    let bank = Bank::start().await;
    let edits = r#"    request:
      headers:
        remove: [cookie, x-secret]
        rename: { x-old: x-new }
        set: { x-account: "{account}", x-client: "{client}", x-subject: "{claim.sub}", x-from: "{address}", x-joined: "{method} {query.a}/{header.x-id}", x-absent: "{header.x-nobody}" }
        add: { x-tag: gateway, x-id: "{request_id}" }
"#;
    let route = echo("edited", edits).replace("authenticate: none", "authenticate: bank");
    let gateway = start(&bank, &[route]).await;
    let token = bank.mint(json!({ "claims": { "client_id": "app", "sub": "s-1" } })).await;
    let sent = [
        ("cookie", "a=b"),
        ("x-secret", "1"),
        ("x-old", "kept"),
        ("x-account", "4712"),
        ("x-absent", "smuggled in"),
        ("x-tag", "client"),
        ("x-id", "7"),
        ("x-request-id", "req-1"),
    ];
    let answer = gateway.get_with("/edited/4711?a=b", &token, &sent).await;
    let expected: [(&str, &[&str]); 12] = [
        ("cookie", &[]),
        ("x-secret", &[]),
        ("x-old", &[]),
        ("x-new", &["kept"]),
        ("x-account", &["4711"]),
        ("x-client", &["app"]),
        ("x-subject", &["s-1"]),
        ("x-from", &["127.0.0.1"]),
        ("x-joined", &["GET b/7"]),
        ("x-absent", &[]),
        ("x-tag", &["client", "gateway"]),
        ("x-id", &["7", "req-1"]),
    ];
    for (name, values) in expected {
        assert_eq!(field(&answer, name), values, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_value_of_the_request_never_splits_a_head() {
    let bank = Bank::start().await;
    let edits = "    request: { headers: { set: { x-q: \"{query.q}\", x-path: \"{path.account}\" } } }\n    \
         response: { headers: { set: { x-q: \"{query.q}\" } } }\n";
    let gateway = start(&bank, &[echo("edited", edits)]).await;
    let answer = gateway.get("/edited/4711?q=a%0d%0ax-evil:%201", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(field(&answer, "x-evil").is_empty() && field(&answer, "x-q").is_empty(), "{answer:?}");
    assert!(!answer.headers.contains_key("x-evil") && !answer.headers.contains_key("x-q"));
    let plain = gateway.get("/edited/4711?q=a%20b", "").await;
    assert_eq!((plain.header("x-q"), field(&plain, "x-q")), ("a b", vec!["a b".to_owned()]));
}

#[tokio::test]
async fn fields_of_one_connection_and_of_gateways_reach_no_backend() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("plain", "")]).await;
    let answer = raw(
        &gateway,
        "GET /plain/4711 HTTP/1.1\r\nHost: bank.example\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\n\
         Proxy: http://evil.example\r\nTE: gzip\r\nX-Tollgate-Caller: root\r\nX-TOLLGATE-Hop: 1\r\n\
         X-Kept: yes\r\n\r\n",
    )
    .await;
    let answer = echoed(&answer);
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "proxy",
        "te",
        "x-tollgate-caller",
        "x-tollgate-hop",
    ] {
        assert!(field(&answer, name).is_empty(), "{name}: {}", answer.json());
    }
    assert_eq!(field(&answer, "x-kept"), ["yes"]);
}

#[tokio::test]
async fn a_cookie_that_http_2_has_split_reaches_the_backend_and_the_rules_as_one() {
    let bank = Bank::start().await;
    let edits = "    request: { headers: { set: { x-cookie: \"{header.cookie}\" } } }\n";
    let gateway = start(&bank, &[echo("plain", edits)]).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let request = client.get(gateway.url("/plain/4711"));
    let answer = request.header("cookie", "a=1").header("cookie", "b=2; c=3").send().await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    let told: serde_json::Value = answer.json().await.unwrap();
    let fields = told["headers"].as_array().unwrap().iter();
    let cookies: Vec<_> =
        fields.filter(|field| field[0] == "cookie" || field[0] == "x-cookie").collect();
    assert_eq!(
        cookies,
        [&json!(["cookie", "a=1; b=2; c=3"]), &json!(["x-cookie", "a=1; b=2; c=3"])]
    );
}

#[tokio::test]
async fn a_connection_option_takes_no_field_away_that_matters() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("plain", "")]).await;
    for name in ["x-forwarded-for", "x-forwarded-host", "host", "content-length", "forwarded"] {
        let request = format!(
            "POST /plain/4711 HTTP/1.1\r\nHost: a\r\nConnection: close, {name}\r\n\
             Content-Length: 5\r\n\r\nhello"
        );
        let answer = raw(&gateway, &request).await;
        if answer.starts_with("HTTP/1.1 400") {
            assert!(answer.contains("bad-request"), "{name}: {answer}");
            continue;
        }
        let told = echoed(&answer);
        assert_eq!(told.json()["body"], "hello", "{name}");
        assert_eq!(field(&told, "x-forwarded-for"), ["127.0.0.1"], "{name}");
        assert_eq!(field(&told, "x-forwarded-host"), ["a"], "{name}");
    }
}

#[tokio::test]
async fn a_backends_fields_of_connections_and_gateways_reach_no_client_and_its_edits_are_made() {
    let bank = Bank::start().await;
    let backend = Backend::start(|_| {
        Response::builder()
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=9")
            .header("proxy-authenticate", "Basic")
            .header("x-tollgate-owner", "10.0.0.1:8443")
            .header("x-quota-unaccounted", "true")
            .header("ratelimit", "\"theirs\";r=0;t=9")
            .header("ratelimit-policy", "\"theirs\";q=1;w=9")
            .header("te", "trailers")
            .header("server", "core/1.2")
            .header("x-old", "kept")
            .header("x-many", "1")
            .body(Bytes::from("{}"))
            .unwrap()
    })
    .await;
    let edits = "    response: { headers: { remove: [server], rename: { x-old: x-new }, \
         set: { x-account: \"{account}\" }, add: { x-many: \"2\" } } }\n";
    let text = base_config(&bank)
        + &format!("  own: {{ endpoints: [127.0.0.1:{}] }}\nroutes:\n", backend.port())
        + &echo("edited", edits).replace("cluster: checking", "cluster: own");
    let gateway = Tollgate::start(&text).await;
    let answer = gateway.get("/edited/4711", "").await;
    assert_eq!(answer.status, 200);
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "x-tollgate-owner",
        "x-quota-unaccounted",
        "ratelimit",
        "ratelimit-policy",
        "te",
        "server",
        "x-old",
    ] {
        assert!(!answer.headers.contains_key(name), "{name}: {answer:?}");
    }
    assert_eq!((answer.header("x-new"), answer.header("x-account")), ("kept", "4711"));
    assert_eq!(answer.headers.get_all("x-many").iter().collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test]
async fn the_backend_is_told_where_a_request_came_from_and_only_trusted_proxies_may_say_so() {
    let bank = Bank::start().await;
    let routes = "routes:\n".to_owned() + &echo("plain", "");
    let invented = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("host", "api.bank.example"),
    ];
    let gateway = Tollgate::start(&(base_config(&bank) + &routes)).await;
    let answer = gateway.get_with("/plain/4711", "", &invented).await;
    assert_eq!(field(&answer, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(field(&answer, "x-forwarded-proto"), ["http"]);
    assert_eq!(field(&answer, "x-forwarded-host"), ["api.bank.example"]);
    assert!(field(&answer, "x-real-ip").is_empty() && field(&answer, "forwarded").is_empty());

    let trusting = base_config(&bank) + "trusted_proxies: [127.0.0.0/8]\n" + &routes;
    // `trusted_proxies` must not end up among the clusters: it stands at the margin.
    let gateway = Tollgate::start(&trusting).await;
    let answer = gateway.get_with("/plain/4711", "", &invented).await;
    assert_eq!(field(&answer, "x-forwarded-for"), ["10.0.0.1, 127.0.0.1"]);
    assert_eq!(field(&answer, "x-forwarded-proto"), ["https"]);
    assert_eq!(field(&answer, "x-forwarded-host"), ["evil.example"]);
}

#[tokio::test]
async fn a_trace_is_continued_or_begun() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("plain", "")]).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let sent = [("traceparent", &*parent), ("tracestate", "vendor=1")];
    let answer = gateway.get_with("/plain/4711", "", &sent).await;
    let [passed] = &*field(&answer, "traceparent") else { panic!("{answer:?}") };
    assert!(passed.starts_with(&format!("00-{trace}-")) && passed.ends_with("-01"), "{passed}");
    assert_ne!(passed, &parent, "the gateway's own span is the backend's parent");
    assert_eq!(field(&answer, "tracestate"), ["vendor=1"]);

    for broken in ["", "00-0-0-01", &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32))] {
        let sent = [("traceparent", broken), ("tracestate", "vendor=1")];
        let answer = gateway.get_with("/plain/4711", "", &sent).await;
        let [made] = &*field(&answer, "traceparent") else { panic!("{broken}: {answer:?}") };
        let parts: Vec<&str> = made.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [2, 32, 16, 2], "{broken}: {made}");
        assert_ne!(parts[1], "0".repeat(32));
        assert!(field(&answer, "tracestate").is_empty(), "{broken}: a state without its trace");
    }
    eventually("the access log to name the trace", async || {
        let log = std::fs::read_to_string(gateway.folder().join("access.log")).unwrap();
        if log.contains(trace) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn identifiers_are_kept_when_they_are_safe_and_made_when_they_are_not() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("plain", "")]).await;
    let long = "x".repeat(129);
    let ids = [("req-1.A_b", true), ("a b", false), ("a\"b", false), (&*long, false), ("", false)];
    for (sent, kept) in ids {
        let answer = gateway.get_with("/plain/4711", "", &[("x-request-id", sent)]).await;
        let id = answer.header("x-request-id").to_owned();
        assert_eq!(id == sent, kept, "{sent}: {id}");
        assert!(kept || id.len() == 36, "{id}");
        assert_eq!(field(&answer, "x-request-id"), [id], "client and backend see one id");
    }
    let interaction = "93BAC548-d2de-4546-b106-880a5018460d";
    for (sent, kept) in [(interaction, true), ("not-a-uuid", false), ("", false)] {
        let answer = gateway.get_with("/plain/4711", "", &[("x-fapi-interaction-id", sent)]).await;
        let id = answer.header("x-fapi-interaction-id").to_owned();
        assert_eq!(id == sent, kept, "{sent}: {id}");
        assert_eq!(id.len(), 36);
        assert_eq!(field(&answer, "x-fapi-interaction-id"), [id]);
    }
    // Refusals have both too: that is when a client needs them.
    let refused = gateway
        .get_with(
            "/nowhere",
            "",
            &[("x-fapi-interaction-id", interaction), ("x-request-id", "req-2")],
        )
        .await;
    assert_eq!(refused.status, 404);
    assert_eq!(refused.header("x-fapi-interaction-id"), interaction);
    assert_eq!(refused.header("x-request-id"), "req-2");
    assert!(refused.json()["instance"].as_str().is_some_and(|instance| instance.contains("req-2")));
}
