use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::config::schema;

/// The configuration that uses every key, in a folder with the certificates it names.
pub(super) fn full() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let authority = certificate(&["ca.internal"]);
    let server = certificate(&["backend.internal"]);
    folder.write("ca.pem", authority.cert.pem());
    folder.write("server.pem", server.cert.pem());
    folder.write("server.key", server.signing_key.serialize_pem());
    folder.write("account.key", "0123456789abcdef0123456789abcdef\n");
    let source = Path::new("tests/golden/config-full");
    folder.write("conf.d/more.yaml", fs::read(source.join("conf.d/more.yaml")).unwrap());
    let main = folder.write("full.yaml", fs::read(source.join("full.yaml")).unwrap());
    (folder, main)
}

/// What the program uses of it, against a golden file. With UPDATE_GOLDEN=1 it is written anew.
#[test]
fn every_key_reaches_the_model() {
    let (folder, main) = full();
    assert_model(&folder, &main, "tests/golden/config-full/model.txt");
}

#[test]
fn every_key_of_a_fleet_reaches_the_model() {
    let (folder, main) = super::fleet::fleet();
    assert_model(&folder, &main, "tests/golden/config-full/fleet-model.txt");
}

fn assert_model(folder: &Folder, main: &Path, golden: &str) {
    let mut config = load(main).unwrap_or_else(|problems| panic!("{problems}"));
    config.revision = "".into();
    let text = format!("{config:#?}\n").replace(&folder.0.path().display().to_string(), "DIR");
    let text = without_bytes(&text);
    assert!(!text.contains("0123456789abcdef"), "a secret is shown");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, &text).unwrap();
    }
    assert!(
        fs::read_to_string(golden).unwrap_or_default() == text,
        "{golden} differs from\n{text}"
    );
}

/// PEM files are new in each run, and stand byte by byte in the output: long runs of numbers.
fn without_bytes(text: &str) -> String {
    let is_byte = |line: &&str| line.trim().trim_end_matches(',').parse::<u8>().is_ok();
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if !is_byte(&line) {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let mut run = vec![line];
        while let Some(next) = lines.next_if(is_byte) {
            run.push(next);
        }
        if run.len() < 20 {
            kept.extend(run.iter().flat_map(|line| [line, "\n"]));
        }
    }
    kept
}

/// The full configuration really has every key: a key that is added to the types but not here
/// fails this.
#[test]
fn the_full_configuration_uses_every_key() {
    let schema = schema();
    let source = Path::new("tests/golden/config-full");
    let mut used = BTreeSet::new();
    for file in ["full.yaml", "conf.d/more.yaml", "fleet.yaml"] {
        let text = fs::read_to_string(source.join(file)).unwrap();
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        collect(&schema, &schema, &value, "", &mut used);
    }
    let mut known = BTreeSet::new();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        keys(definition, name, &mut known);
    }
    keys(&schema, "", &mut known);
    let missing: Vec<&String> = known.difference(&used).collect();
    // `host` alone sends no path, `present` is the other side of `absent`: both are there elsewhere.
    assert!(missing.is_empty(), "{missing:?}");
}

fn keys(schema: &Value, name: &str, known: &mut BTreeSet<String>) {
    for key in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        known.insert(format!("{name}.{}", key.0));
    }
}

/// Notes each key of the schema that a value uses, as `Definition.key`.
fn collect(root: &Value, schema: &Value, value: &Value, name: &str, used: &mut BTreeSet<String>) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap();
        return collect(root, &root["$defs"][name], value, name, used);
    }
    for branch in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        collect(root, branch, value, name, used);
    }
    match value {
        Value::Array(items) => {
            for item in items {
                collect(root, schema.get("items").unwrap_or(&Value::Null), item, name, used);
            }
        }
        Value::Object(members) => {
            for (key, value) in members {
                match schema.get("properties").and_then(|properties| properties.get(key)) {
                    Some(property) => {
                        used.insert(format!("{name}.{key}"));
                        collect(root, property, value, name, used);
                    }
                    None => {
                        let values = schema.get("additionalProperties").unwrap_or(&Value::Null);
                        collect(root, values, value, name, used);
                    }
                }
            }
        }
        _ => {}
    }
}

#[test]
fn views_show_what_was_written_and_no_secret() {
    let (_folder, main) = full();
    let config = load(&main).unwrap();
    assert_eq!(config.shown["admin"]["token"], "${env:TOLLGATE_ADMIN_TOKEN}");
    assert_eq!(config.shown["state"]["account_key"], "${file:account.key}");
    assert_eq!(config.shown["cache"]["sealing_keys"][1], "(hidden)");
    assert_eq!(config.shown["routes"][3]["answer"]["body"], "$${text}");
    assert_eq!(config.shown["clusters"]["plain"]["endpoints"][0], "10.0.0.3:80");
    let text = config.shown.to_string();
    assert!(!text.contains("correct-horse") && !text.contains("0123456789abcdef"));
}

#[test]
fn secrets_files_and_escapes_are_put_in_place() {
    let (_folder, main) = full();
    let config = load(&main).unwrap();
    assert_eq!(
        config.state.account_key.as_ref().unwrap().reveal(),
        "0123456789abcdef0123456789abcdef"
    );
    let body = config.routes.iter().find_map(|route| match &route.action {
        crate::config::model::Action::Answer { body, .. } => Some(body.clone()),
        _ => None,
    });
    assert_eq!(&*body.unwrap(), "${text}");
}

#[test]
fn all_files_are_watched_and_a_change_in_any_makes_another_revision() {
    let (folder, main) = full();
    let first = load(&main).unwrap();
    let names: BTreeSet<String> = first
        .files
        .iter()
        .map(|path| path.strip_prefix(folder.0.path()).unwrap().display().to_string())
        .collect();
    let expected = [
        "full.yaml",
        "conf.d",
        "conf.d/more.yaml",
        "server.pem",
        "server.key",
        "ca.pem",
        "account.key",
    ];
    assert_eq!(names, expected.map(String::from).into_iter().collect());
    assert_eq!(load(&main).unwrap().revision, first.revision);
    for (name, more) in [
        ("full.yaml", "# x\n"),
        ("conf.d/more.yaml", "# x\n"),
        ("account.key", "x"),
        ("ca.pem", "\n"),
    ] {
        let before = load(&main).unwrap().revision;
        let mut text = fs::read(folder.0.path().join(name)).unwrap();
        text.extend_from_slice(more.as_bytes());
        folder.write(name, text);
        assert_ne!(load(&main).unwrap().revision, before, "{name}");
    }
}

#[test]
fn what_needs_a_restart_is_said_and_what_does_not_is_not() {
    let (folder, main) = full();
    let old = load(&main).unwrap();
    let text = fs::read_to_string(&main).unwrap();
    let after = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let path = folder.write("changed.yaml", text.replacen(from, to, 1));
        let new = load(&path).unwrap_or_else(|problems| panic!("{problems}"));
        crate::config::restart_needed(&old, &new).join("; ")
    };
    for (from, to, reason) in [
        ("0.0.0.0:8444", "0.0.0.0:8445", "the port 0.0.0.0:8444 is gone"),
        ("0.0.0.0:8444", "0.0.0.0:8445", "the port 0.0.0.0:8445 is new"),
        ("127.0.0.1:9902", "127.0.0.1:9903", "admin.address"),
        ("directory: state", "directory: other", "state.directory"),
        ("partitions: 32", "partitions: 33", "state.partitions"),
        ("${file:account.key}", "${file:account.key}x", "state.account_key"),
        ("tollgate=debug", "tollgate=info", "observe.log"),
        ("{file: access.log}", "stdout", "observe.access_log"),
    ] {
        assert!(after(from, to).contains(reason), "{from}: {}", after(from, to));
    }
    for (from, to) in [
        ("token: \"${env:TOLLGATE_ADMIN_TOKEN}\"", "token: x"),
        ("http2: false", "http2: true"),
        ("min_version: \"1.3\"", "min_version: \"1.2\""),
        ("session_tickets: false", "session_tickets: true"),
        ("required: false", "required: true"),
        ("-in-clear", "-in-the-clear"),
        ("max_headers: 17", "max_headers: 18"),
        ("memory: 33MiB", "memory: 44MiB"),
        ("limit: 59", "limit: 61"),
        ("/a/{account}/", "/b/{account}/"),
        ("drain_wait: 36s", "drain_wait: 1s"),
    ] {
        assert_eq!(after(from, to), "", "{from}");
    }
}
