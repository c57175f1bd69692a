//! `explain`: what would become of a request, and why.

use serde_json::{Value, json};

use super::{Files, tollgate};
use crate::support::gateway::base_config;
use crate::support::wire::logged;
use crate::support::{Bank, Tollgate};

fn explained(bank: &Bank, address: &str, folder: &str) -> String {
    let mut text = base_config(bank).replace("ADDRESS", address).replace("FOLDER", folder);
    text.push_str(
        r#"rates:
  brisk: { per: [client], rate: 10/s, burst: 20 }
quotas:
  unattended:
    per: [account, client]
    limit: 4
    window: 24h
    when: "!('x-fapi-customer-ip-address' in request.headers) || !isIP(request.headers['x-fapi-customer-ip-address'])"
routes:
  - id: summary
    match: { path: "/accounts/{account}/summary", methods: [GET] }
    authenticate: bank
    scopes: [accounts:read]
    rates: [brisk]
    account: path.account
    quotas: [unattended]
    cache: { fresh: 1h, visible_to: client }
    compose:
      parts:
        checking: { cluster: checking, path: "/v1/{account}", into: accounts.checking }
        cards: { cluster: cards, path: "/v1/{account}", into: accounts.cards }
  - id: proxied
    match: { path: "/own/{account}" }
    authenticate: none
    account: path.account
    cluster: loans
    rewrite: { path: "/v1/{account}" }
"#,
    );
    text
}

#[tokio::test]
async fn explain_tells_each_stage_and_why_and_calls_nobody() {
    let bank = Bank::start().await;
    let files = Files::new();
    let folder = files.0.path().display().to_string();
    let config = files.write("tollgate.yaml", &explained(&bank, "127.0.0.1", &folder));
    let token = format!("authorization: Bearer {}", bank.token("budget-app").await);
    let before = bank.state().await;
    let url = "https://api.bank.example/accounts/4711/summary";

    let served = tollgate(&["explain", &config, "GET", url, "-H", &token], &[]);
    assert_eq!(served.status, 0, "{served:?}");
    let stages: Vec<[&str; 2]> = served
        .out
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            [words.next().unwrap(), words.next().unwrap()]
        })
        .collect();
    let names =
        ["route", "auth", "access", "limit", "guard", "account", "quota", "vault", "upstream"];
    assert_eq!(stages, names.map(|name| [name, "pass"]));
    for told in [
        "'summary'",
        "client 'budget-app' of 'bank'",
        "not verified",
        "'brisk': 10",
        "1 account from path.account",
        "'unattended' charges",
        "client=budget-app",
        "client budget-app of bank",
        "checking: /v1/{account} at 'checking'",
        "cards: /v1/{account} at 'cards'",
    ] {
        assert!(served.out.contains(told), "{told:?} is missing from\n{}", served.out);
    }
    assert!(!served.out.contains("4711"), "no account number: {}", served.out);
    assert!(!served.out.contains("eyJ"), "no token: {}", served.out);
    // Where there is no fleet, nobody has to be asked.
    let nobody = ["--admin", "http://127.0.0.1:9"];
    let alone =
        tollgate(&[&["explain", &config, "GET", url, "-H", &token], &nobody[..]].concat(), &[]);
    assert_eq!((alone.status, alone.out), (0, served.out));
    assert!(alone.err.contains("nobody was asked"), "{}", alone.err);

    let json = |arguments: &[&str]| {
        let done = tollgate(&[&["explain", &config, "--json"], arguments].concat(), &[]);
        let view: Value = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{done:?}"));
        let stages = view["stages"].as_array().unwrap();
        let why = stages
            .iter()
            .map(|stage| (stage["stage"].as_str().unwrap().to_owned(), stage.clone()))
            .collect::<std::collections::HashMap<_, _>>();
        (done.status, view.clone(), why)
    };
    let (status, view, stage) = json(&["GET", url, "-H", &token]);
    assert_eq!((status, &view["route"], &view["refused"]), (0, &json!("summary"), &Value::Null));
    let key = |stage: &std::collections::HashMap<String, Value>| stage["vault"]["why"].clone();
    let first = key(&stage);
    assert!(first.as_str().unwrap().contains("account"), "{first}");
    let other = "https://api.bank.example/accounts/4712/summary";
    assert_ne!(key(&json(&["GET", other, "-H", &token]).2), first, "another account, another key");
    let again = json(&["GET", &format!("{url}?"), "-H", &token, "-H", "accept: */*"]);
    assert_eq!(key(&again.2), first, "what is no part of the key changes nothing");

    let present = "x-fapi-customer-ip-address: 203.0.113.7";
    let (status, _, stage) = json(&["GET", url, "-H", &token, "-H", present]);
    assert_eq!(status, 0);
    let why = stage["quota"]["why"].as_str().unwrap();
    assert_eq!(why, "'unattended' does not apply: its condition does not hold");

    let (status, view, stage) = json(&["GET", "https://api.bank.example/own/4711"]);
    assert_eq!((status, &view["route"]), (0, &json!("proxied")));
    for skipped in ["auth", "limit", "quota", "vault"] {
        assert_eq!(stage[skipped]["decision"], "skip", "{skipped}");
    }
    let upstream = format!("at 'loans': 127.0.0.1:{}", bank.port("loans"));
    assert!(stage["upstream"]["why"].as_str().unwrap().contains(&upstream), "{view:#}");

    let poor = bank.mint(json!({ "claims": { "scope": "payments:write" } })).await;
    let poor = format!("authorization: Bearer {poor}");
    for (arguments, refused, stage, why) in [
        (vec!["GET", "https://api.bank.example/nothing"], 404, "route", "no-route"),
        (vec!["POST", url], 405, "route", "405 method-not-allowed: Allowed are GET, HEAD."),
        (vec!["GET", url], 401, "auth", "401"),
        (vec!["GET", url, "-H", &poor], 403, "access", "accounts:read"),
        (
            vec!["GET", "https://api.bank.example/accounts/a%20b/summary", "-H", &token],
            400,
            "account",
            "account",
        ),
    ] {
        let (status, view, _) = json(&arguments);
        assert_eq!((status, &view["refused"]), (1, &json!(refused)), "{view:#}");
        let last = view["stages"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["stage"], &last["decision"]), (&json!(stage), &json!("refuse")));
        assert!(last["why"].as_str().unwrap().contains(why), "{view:#}");
        let text = tollgate(&[&["explain", &config], &arguments[..]].concat(), &[]);
        assert_eq!(text.status, 1);
        assert!(text.out.contains(&format!("{stage:<9} refuse")), "{}", text.out);
    }

    for (arguments, why) in [
        (vec!["GET", "/accounts/4711"], "not a whole URL"),
        (vec!["GET", "nourl"], "not a whole URL"),
        (vec!["G ET", url], "not a method"),
        (vec!["GET", url, "-H", "nonsense"], "not a header"),
    ] {
        let wrong = tollgate(&[&["explain", &config], &arguments[..]].concat(), &[]);
        assert!(wrong.status == 2 && wrong.err.contains(why), "{wrong:?}");
    }
    let broken = files.write("broken.yaml", "listen: 7");
    assert_eq!(tollgate(&["explain", &broken, "GET", url], &[]).status, 1);

    assert_eq!(bank.calls().await, 0);
    let after = bank.state().await;
    assert_eq!(after["identity"], {
        let mut expected = before["identity"].clone();
        // `mint` goes by the control port; nothing else asked the provider.
        if let (Some(expected), Some(now)) =
            (expected.as_object_mut(), after["identity"].as_object())
        {
            for (name, value) in now {
                if name.contains("mint") {
                    expected.insert(name.clone(), value.clone());
                }
            }
        }
        expected
    });
}

const MORE: &str = r#"
  - id: payment
    match: { path: /payments, methods: [POST] }
    authenticate: none
    account: body./debtor
    max_body: 1KiB
    request: { body: [{ drop: /internal }] }
    cluster: loans
  - id: page
    match: { path: "/pages/{account}" }
    authenticate: none
    account: path.account
    cache: { fresh: 1h, visible_to: everyone, query: [page] }
    cluster: loans
    rewrite: { path: "/v1/{account}/{query.page}" }
  - id: several
    match: { path: /several }
    authenticate: none
    account: { from: query.acc, separator: "," }
    cluster: loans
  - id: old
    match: { path: "/old/{account}" }
    authenticate: none
    redirect: { to: "https://api.bank.example/accounts/{account}?page={query.page}" }
"#;

#[tokio::test]
async fn explain_reads_bodies_fills_addresses_and_names_accounts_as_the_log_does() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&(explained(&bank, "ADDRESS", "FOLDER") + MORE)).await;
    let config = gateway.folder().join("tollgate.yaml").display().to_string();
    let explain = |arguments: &[&str]| tollgate(&[&["explain", &config], arguments].concat(), &[]);
    let token = bank.token("budget-app").await;
    let served = gateway.get("/accounts/4711/summary", &token).await;
    let line = logged(&gateway, served.header("x-request-id")).await;
    let hash = line["tollgate"]["account"].as_str().unwrap();
    let bearer = format!("authorization: Bearer {token}");
    let told = explain(&["GET", &gateway.url("/accounts/4711/summary"), "-H", &bearer]);
    let account = format!("account   pass    1 account from path.account: {hash}\n");
    assert!(told.status == 0 && told.out.contains(&account), "{told:?}");
    let charged = format!("'unattended' charges {hash} client=budget-app");
    assert!(told.out.contains(&charged), "{told:?}");

    let payment = |body: &str, more: &[&str]| {
        explain(&[&["POST", "https://a/payments", "--body", body][..], more].concat())
    };
    let json_type = ["-H", "content-type: application/json"];
    let paid = payment(r#"{"debtor": "4711", "internal": 1}"#, &json_type);
    assert_eq!(paid.status, 0, "{paid:?}");
    assert!(paid.out.contains("the JSON body is read and edited"), "{paid:?}");
    assert!(paid.out.contains(&format!("1 account from body./debtor: {hash}")), "{paid:?}");
    let file = gateway.folder().join("body.json");
    std::fs::write(&file, r#"{"debtor": "4711"}"#).unwrap();
    assert_eq!(payment(&format!("@{}", file.display()), &json_type).status, 0);
    let large = "9".repeat(1025);
    for (body, more, refused) in [
        (r#"{"debtor": "4711"}"#, &[][..], "guard     refuse  415 unsupported-media-type"),
        ("{", &json_type, "guard     refuse  400 malformed-body"),
        (&*large, &json_type, "guard     refuse  413 body-too-large"),
        (
            "{}",
            &json_type,
            "account   refuse  400 account-missing: Name the account in body./debtor",
        ),
        ("", &json_type, "account   refuse  400 account-missing"),
    ] {
        let told = payment(body, more);
        assert!(told.status == 1 && told.out.contains(refused), "{refused}: {told:?}");
    }
    let nowhere = payment("@/nowhere/body.json", &json_type);
    assert!(nowhere.status == 2 && nowhere.err.contains("can't be read"), "{nowhere:?}");

    let page = explain(&["GET", "https://a/pages/4711?page=2&evil=x"]);
    assert!(page.out.contains("/v1/{account}/2?page=2 at 'loans'"), "{page:?}");
    let posted = explain(&["POST", "https://a/pages/4711?page=2&more=x"]);
    assert!(posted.out.contains("/v1/{account}/2?page=2&more=x at 'loans'"), "{posted:?}");
    assert!(posted.out.contains("vault     skip"), "{posted:?}");
    let lacking = explain(&["GET", "https://a/pages/4711"]);
    assert!(lacking.status == 1 && lacking.out.contains("lacks query.page"), "{lacking:?}");
    let old = explain(&["GET", "https://a/old/x?page=2"]);
    let to = "redirects with 308 Permanent Redirect to https://api.bank.example/accounts/x?page=2";
    assert!(old.status == 0 && old.out.contains(to), "{old:?}");

    let several = explain(&["GET", "https://a/several?acc=DE4711,FR4712&more=of-DE4711"]);
    assert!(
        several.out.contains("/several?acc={account},{account}&more=of-{account} at"),
        "{several:?}"
    );
    let short = explain(&["GET", "https://a/pages/e?page=e"]);
    assert!(short.out.contains(r#"visible_to="everyone""#), "{short:?}");
    assert!(short.out.contains("/v1/{account}/{account}?page={account} at 'loans'"), "{short:?}");
    let number = explain(&["GET", "https://127.0.61.2/pages/12?page=2"]);
    assert!(number.out.contains(r#"host="127.0.61.2""#), "{number:?}");

    // Without the key of the gateway's state there is no hash to compare with.
    std::fs::remove_file(gateway.folder().join("state/account.key")).unwrap();
    let told = explain(&["GET", "https://a/own/4711"]);
    assert!(told.out.contains("not as in the gateway's log"), "{told:?}");
    assert!(!told.out.contains(hash) && !told.out.contains("4711"), "{told:?}");
    assert!(!gateway.folder().join("state/account.key").exists(), "it made none");
}
