//! The command line: what an operator types, and what comes back.

mod explain;
mod expiry;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::gateway::{ADMIN_TOKEN, base_config};
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
    assert_eq!(report[0], json!({ "file": sound, "problems": [], "warnings": [] }));
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

#[test]
fn a_complaint_that_nobody_can_read_still_has_its_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.yaml").display().to_string();
    std::fs::write(&wrong, "listen: nonsense\n").unwrap();
    for (arguments, expected) in [
        (&["check", &wrong][..], 1),
        (&["run", "--config", &wrong], 1),
        (&["quota", "show", "4711"], 3),
    ] {
        for file in ["/dev/full", "/dev/null"] {
            let nobody = std::fs::OpenOptions::new().write(true).open(file).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
            command.env("TOLLGATE_ADMIN", "http://127.0.0.1:1");
            let status = command.args(arguments).stderr(nobody).status().unwrap();
            assert_eq!(status.code(), Some(expected), "{arguments:?} to {file}");
        }
    }
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
