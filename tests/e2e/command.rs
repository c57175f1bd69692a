//! The command line: what an operator types, and what comes back.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::gateway::{ADMIN_TOKEN, base_config};
use crate::support::wire::logged;
use crate::support::{Bank, Tollgate, own_address};

/// What a command came to.
#[derive(Debug)]
struct Done {
    status: i32,
    out: String,
    err: String,
}

fn tollgate(arguments: &[&str], environment: &[(&str, &str)]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    for name in ["TOLLGATE_ADMIN", "TOLLGATE_ADMIN_TOKEN", "TOLLGATE_STATE", "TOLLGATE_CONFIG"] {
        command.env_remove(name);
    }
    let Output { status, stdout, stderr } =
        command.args(arguments).envs(environment.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { status: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

fn shipped(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file).display().to_string()
}

/// A folder with files in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }
}

const SOUND: &str = "\
listen:
  - address: 127.0.0.1:8080
state: { directory: state }
routes:
  - id: hello
    match: { path: /hello }
    authenticate: none
    answer: { body: hello }
";

#[test]
fn check_finds_every_problem_of_every_file() {
    let files = Files::new();
    let sound = files.write("sound.yaml", SOUND);
    let done = tollgate(&["check", &sound], &[]);
    assert_eq!(
        (done.status, &*done.out, &*done.err),
        (0, &*format!("{sound}: ok (1 routes)\n"), "")
    );

    let typo = SOUND.replace("authenticate:", "authentcate:").replace("body: hello", "status: 99");
    let typo = files.write("typo.yaml", &typo);
    let broken = files.write("broken.yaml", "listen: [");
    let missing = files.path("missing.yaml").display().to_string();
    let done = tollgate(&["check", &sound, &typo, &broken, &missing], &[]);
    assert_eq!(done.status, 1);
    assert_eq!(done.out, format!("{sound}: ok (1 routes)\n"), "sound files are still told");
    for told in [
        &*format!("--> {typo}:7:5"),
        "    authentcate: none\n  |     ^^^^^^^^^^^",
        "`authenticate`",
        &*format!("--> {typo}:8:"),
        &*format!("--> {broken}"),
        &*format!("--> {missing}"),
    ] {
        assert!(done.err.contains(told), "{told:?} is missing from\n{}", done.err);
    }

    let done = tollgate(&["check", "--json", &sound, &typo], &[]);
    assert_eq!((done.status, &*done.err), (1, ""));
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(report[0], json!({ "file": sound, "problems": [] }));
    assert_eq!(report[1]["file"], typo);
    let problems = report[1]["problems"].as_array().unwrap();
    let place = |problem: &Value| (problem["line"].as_u64(), problem["column"].as_u64());
    let unknown = problems.iter().find(|problem| place(problem) == (Some(7), Some(5)));
    let unknown = unknown.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!((&unknown["file"], &unknown["end_column"]), (&json!(typo), &json!(16)));
    assert!(unknown["message"].as_str().unwrap().contains("authentcate"), "{unknown}");
    assert!(unknown["hint"].as_str().unwrap().contains("authenticate"), "{unknown}");
    assert!(unknown["path"].as_str().unwrap().starts_with("routes[0]"), "{unknown}");
    assert!(problems.iter().any(|problem| problem["line"] == 8), "{report:#}");
}

#[test]
fn the_shipped_configurations_pass_their_check() {
    let state =
        [("TOLLGATE_STATE", "/tmp/tollgate"), ("TOLLGATE_ADMIN_TOKEN", "t0ken-of-the-demo")];
    for file in ["conf/demo.yaml", "conf/example.yaml", "load-tests/load.yaml"] {
        let done = tollgate(&["check", &shipped(file)], &state);
        assert_eq!(done.status, 0, "{file}: {}", done.err);
    }
    let done = tollgate(&["check", &shipped("conf/demo.yaml")], &[]);
    assert_eq!(done.status, 1);
    assert!(done.err.contains("`TOLLGATE_STATE`"), "{}", done.err);
    assert!(done.err.contains("`TOLLGATE_ADMIN_TOKEN`"), "{}", done.err);
}

/// Every `$ref` of a schema, and every value of `type`.
fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    match schema {
        Value::Object(members) => {
            if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                found.push(target);
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_schema_is_whole_and_the_reference_page_is_the_one_in_the_docs() {
    let done = tollgate(&["schema"], &[]);
    assert_eq!(done.status, 0);
    let schema: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut found = Vec::new();
    references(&schema, &mut found);
    assert!(found.len() > 30, "{found:?}");
    for target in found {
        let pointer = target.strip_prefix('#').expect("nothing outside is needed");
        assert!(schema.pointer(pointer).is_some(), "{target} is nowhere");
    }
    assert_eq!(schema["additionalProperties"], false);
    for key in ["listen", "state", "routes"] {
        assert!(schema["required"].as_array().unwrap().contains(&json!(key)), "{key}");
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    let done = tollgate(&["reference"], &[]);
    let page = std::fs::read_to_string(shipped("docs/configuration.md")).unwrap();
    assert!(done.status == 0 && done.out == page, "docs/configuration.md is out of date");
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly_and_a_full_device_is_told() {
    use std::process::{Command, Stdio};
    let run = |arguments: &[&str], to: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let done = command.args(arguments).stdout(to).stderr(Stdio::piped()).output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    for arguments in [&["schema"][..], &["man"], &["completions", "bash"], &["reference"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(arguments, writer.into()), (Some(0), String::new()), "{arguments:?}");
    }
    for arguments in [&["schema"][..], &["man"], &["completions", "bash"], &["reference"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (status, err) = run(arguments, full.into());
        assert!(
            err.starts_with("standard output can't be written: No space"),
            "{arguments:?}: {err}"
        );
        assert_eq!(status, Some(4), "{arguments:?}");
    }
}

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
    when: "!('x-fapi-customer-ip-address' in request.headers) || !request.headers['x-fapi-customer-ip-address'].matches('^([0-9]{1,3}([.][0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,7}(([.][0-9]{1,3}){3})?)$')"
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

#[tokio::test]
async fn cached_answers_are_shown_and_purged_through_the_admin_port() {
    let bank = Bank::start().await;
    let text = format!(
        "{}routes:\n  - id: kept\n    match: {{ path: \"/kept/{{account}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cache: {{ fresh: 1h, visible_to: everyone }}\n    cluster: checking\n    \
         rewrite: {{ path: \"/v1/{{account}}\" }}\n",
        base_config(&bank)
    );
    let gateway = Tollgate::start(&text).await;
    let admin = gateway.admin_url("");
    let cache = |token: &str, arguments: &[&str]| {
        let arguments = [&["cache"], arguments, &["--admin", &admin]].concat();
        let environment: &[_] = &[("TOLLGATE_ADMIN_TOKEN", token)];
        tollgate(&arguments, if token.is_empty() { &[] } else { environment })
    };
    let shown = cache("", &["show", "4711"]);
    assert_eq!((shown.status, &*shown.out), (0, "no answers are kept for this account\n"));
    for account in ["4711", "4712", "4713"] {
        assert_eq!(gateway.get(&format!("/kept/{account}"), "").await.status, 200);
    }
    let shown = cache("", &["show", "4711"]);
    assert_eq!(shown.status, 0);
    assert!(shown.out.starts_with("kept "), "{shown:?}");
    assert!(shown.out.contains("visible to everyone") && !shown.out.contains("4711"), "{shown:?}");
    let view: Value = serde_json::from_str(&cache("", &["show", "4711", "--json"]).out).unwrap();
    assert_eq!(view["answers"][0]["route"], "kept");

    for (token, hint) in [("", "put a token into"), ("wrong", "put another token into")] {
        let refused = cache(token, &["purge", "--all"]);
        assert!(refused.status == 1 && refused.err.contains("401"), "{refused:?}");
        assert!(refused.err.contains(&format!("{hint} TOLLGATE_ADMIN_TOKEN")), "{refused:?}");
    }
    assert!(gateway.get("/kept/4711", "").await.is_hit(), "nothing was purged");
    let purged = cache(ADMIN_TOKEN, &["purge", "--account", "4711"]);
    assert_eq!((purged.status, &*purged.out), (0, "removed: 1 answer\n"), "{purged:?}");
    assert!(!gateway.get("/kept/4711", "").await.is_hit());
    assert!(gateway.get("/kept/4712", "").await.is_hit());
    let purged = cache(ADMIN_TOKEN, &["purge", "--route", "kept"]);
    assert_eq!((purged.status, &*purged.err), (0, ""), "{purged:?}");
    let slip = cache(ADMIN_TOKEN, &["purge", "--route", "kpet"]);
    assert_eq!((slip.status, &*slip.out), (0, "removed: 0 answers\n"), "{slip:?}");
    assert!(slip.err.contains("no route 'kpet' is in use"), "{slip:?}");
    assert!(!gateway.get("/kept/4712", "").await.is_hit());
    let purged = cache(ADMIN_TOKEN, &["purge", "--all", "--json"]);
    assert!(serde_json::from_str::<Value>(&purged.out).unwrap()["entries"].is_u64(), "{purged:?}");
    assert!(!gateway.get("/kept/4713", "").await.is_hit());

    assert_eq!(cache(ADMIN_TOKEN, &["purge"]).status, 2, "what to purge must be said");
    let nothing = cache("", &["show", ""]);
    assert!(nothing.status == 2 && nothing.err.contains("is empty"), "{nothing:?}");
    for no_url in ["foo", "127.0.0.1:9901", "ftp://a"] {
        let refused = tollgate(&["quota", "show", "4711", "--admin", no_url], &[]);
        assert_eq!(refused.status, 2, "{refused:?}");
        assert!(refused.err.contains("http://127.0.0.1:9901"), "{refused:?}");
    }
    let nobody = tollgate(&["cache", "show", "4711", "--admin", "http://127.0.0.1:9"], &[]);
    assert_eq!(nobody.status, 3, "{nobody:?}");
    assert!(
        nobody.err.contains("can't be reached") && nobody.err.contains("--admin"),
        "{nobody:?}"
    );
}

#[test]
fn the_command_line_explains_itself() {
    let version = tollgate(&["--version"], &[]);
    let commit = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "HEAD"])
        .output()
        .is_ok_and(|output| output.status.success());
    let (name, rest) = version.out.trim().split_once(" (").unwrap();
    assert_eq!(name, format!("tollgate {}", env!("CARGO_PKG_VERSION")));
    let told = rest.strip_suffix(')').unwrap();
    let is_commit = told.len() == 12 && told.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_commit || !commit, "{version:?}");

    let help = tollgate(&["--help"], &[]);
    assert_eq!(help.status, 0);
    for told in [
        "Examples:",
        "tollgate explain",
        "Exit status:",
        "run",
        "check",
        "schema",
        "quota",
        "cache",
    ] {
        assert!(help.out.contains(told), "{told:?} is missing from {}", help.out);
    }
    for (arguments, nearest) in [
        (vec!["run", "--confg", "x"], "--config"),
        (vec!["check", "--jsn", "x"], "--json"),
        (vec!["chek", "x"], "check"),
        (vec!["quota", "shwo", "1"], "show"),
    ] {
        let wrong = tollgate(&arguments, &[]);
        assert!(wrong.status == 2 && wrong.err.contains(nearest), "{wrong:?}");
    }
}

#[test]
fn a_run_with_a_wrong_file_tells_every_problem_and_ends() {
    let files = Files::new();
    let wrong = SOUND.replace("authenticate:", "authentcate:").replace("listen:", "lissen:");
    let wrong = files.write("wrong.yaml", &wrong);
    let done = tollgate(&["run", "--config", &wrong], &[]);
    assert_eq!(done.status, 1);
    for told in ["`lissen`", "`authentcate`", "wrong.yaml:1:1", "wrong.yaml:7:5"] {
        assert!(done.err.contains(told), "{told:?} is missing from\n{}", done.err);
    }
    assert!(!files.path("state").exists(), "nothing was begun");
}

#[test]
fn a_run_that_can_t_have_its_ports_or_folder_says_which() {
    let files = Files::new();
    let address = own_address();
    let held = std::net::TcpListener::bind((address, 8080)).unwrap();
    let text = SOUND.replace("127.0.0.1", &address.to_string());
    let taken = files.write("taken.yaml", &text);
    let done = tollgate(&["run", "--config", &taken], &[]);
    assert_eq!(done.status, 4, "{done:?}");
    let told = done.err.lines().find(|line| line.starts_with("tollgate can't start")).unwrap();
    assert!(told.contains(&format!("{address}:8080")) && told.contains("in use"), "{told}");
    drop(held);

    let held = std::net::TcpListener::bind((address, 9901)).unwrap();
    let admin = files.write(
        "admin.yaml",
        &format!("admin: {{ address: {address}:9901 , token: some-token }}\n{text}"),
    );
    let done = tollgate(&["run", "--config", &admin], &[]);
    assert_eq!(done.status, 4, "{done:?}");
    let told = done.err.lines().find(|line| line.starts_with("tollgate can't start")).unwrap();
    assert!(
        told.contains("admin.address") && told.contains(":9901") && told.contains("in use"),
        "{told}"
    );
    drop(held);

    let file = files.write("file", "");
    let nowhere = files.write(
        "nowhere.yaml",
        &text.replace("directory: state", &format!("directory: {file}/state")),
    );
    let done = tollgate(&["run", "--config", &nowhere], &[]);
    assert_eq!(done.status, 4, "{done:?}");
    assert!(done.err.contains(&format!("{file}/state")), "{done:?}");
}
