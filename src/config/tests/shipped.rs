use serde_json::Value;

use super::*;
use crate::config::{schema, written_schema};

fn read(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn configurations(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn shipped_configurations_are_right() {
    let files = configurations("conf");
    assert!(files.len() >= 2);
    for file in files {
        if let Err(problems) = load(&file) {
            panic!("{problems}");
        }
    }
}

#[test]
fn an_editor_with_the_schema_accepts_shipped_configurations_and_refuses_broken_forms() {
    let validator = jsonschema::validator_for(&written_schema()).unwrap();
    for file in configurations("conf").into_iter().chain(configurations("tests/golden/config-full"))
    {
        assert!(validator.is_valid(&read(&file)), "{}", file.display());
    }
    for name in ["unknown-keys", "wrong-types", "enums", "alternatives", "missing-keys", "names"] {
        let file = Path::new("tests/golden/config").join(name).with_extension("yaml");
        assert!(!validator.is_valid(&read(&file)), "{name}");
    }
}

/// All texts of a configuration that are values.
fn texts<'v>(value: &'v mut Value, all: &mut Vec<&'v mut Value>) {
    match value {
        Value::String(_) => all.push(value),
        Value::Array(items) => items.iter_mut().for_each(|item| texts(item, all)),
        Value::Object(members) => members.values_mut().for_each(|member| texts(member, all)),
        _ => {}
    }
}

#[test]
fn an_editor_with_the_schema_accepts_references_for_every_text() {
    let validator = jsonschema::validator_for(&written_schema()).unwrap();
    let mut tried = 0;
    for file in configurations("conf").into_iter().chain(configurations("tests/golden/config-full"))
    {
        for reference in ["${env:NAME}", "${file:/run/secrets/name}", "a-${env:NAME}"] {
            let mut value = read(&file);
            let mut all = Vec::new();
            texts(&mut value, &mut all);
            tried += all.len();
            all.into_iter().for_each(|text| *text = reference.into());
            let errors: Vec<String> =
                validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{}, {reference}: {errors:#?}", file.display());
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn an_editor_with_the_schema_takes_sizes_as_text_or_number_and_refuses_other_forms() {
    let validator = jsonschema::validator_for(&written_schema()).unwrap();
    let with = |memory: Value, fresh: Value, key: Value| {
        let mut value = read(Path::new("conf/example.yaml"));
        value["cache"] = serde_json::json!({ "memory": memory, "sealing_keys": [key] });
        let quota = value["quotas"].as_object_mut().unwrap().values_mut().next().unwrap();
        quota["window"] = fresh;
        validator.is_valid(&value)
    };
    let key = || Value::from("0123456789abcdef0123456789abcdef");
    for memory in [Value::from("64MiB"), 67_108_864.into(), "${env:CACHE_SIZE}".into()] {
        for window in ["24h", "${env:WINDOW}"] {
            assert!(with(memory.clone(), window.into(), key()), "{memory} {window}");
        }
    }
    assert!(with("64MiB".into(), "24h".into(), "${env:SEAL}".into()));
    assert!(!with("64MB".into(), "24h".into(), key()));
    assert!(!with("64MiB".into(), "24x".into(), key()));
    assert!(!with("64MiB".into(), 24.into(), key()), "a number has no unit of time");
    assert!(!with("64MiB".into(), "24h".into(), "short".into()));
    assert!(!with("64MiB".into(), "24h".into(), "${ENV}".into()), "no kind of reference");
}

#[test]
fn the_demo_charges_unattended_reads_of_five_services() {
    let config = load(Path::new("conf/demo.yaml")).unwrap();
    let [route] = config.routes.as_slice() else { panic!("one route") };
    let crate::config::model::Action::Compose(compose) = &route.action else { panic!("composed") };
    assert_eq!(compose.parts.len(), 5);
    assert_eq!(route.quotas[0].limit.get(), 4);
    let admin = config.admin.unwrap();
    assert_eq!(admin.token.as_ref().unwrap().reveal(), "correct-horse-battery-staple");
}

/// With UPDATE_DOCS=1 the page is written anew.
#[test]
fn the_reference_page_is_current() {
    let page = crate::config::reference_markdown();
    let file = "docs/configuration.md";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all("docs").unwrap();
        fs::write(file, &page).unwrap();
    }
    let committed = fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == page,
        "{file} is out of date: UPDATE_DOCS=1 cargo test --lib reference_page"
    );
}

#[test]
fn every_key_of_the_schema_is_explained() {
    fn walk(schema: &Value, path: &str) {
        let Some(object) = schema.as_object() else { return };
        if let Some(properties) = object.get("properties").and_then(Value::as_object) {
            for (key, property) in properties {
                assert!(property.get("description").is_some(), "{path}.{key} has no description");
                walk(property, &format!("{path}.{key}"));
            }
        }
        for (name, definition) in
            object.get("$defs").and_then(Value::as_object).into_iter().flatten()
        {
            walk(definition, name);
        }
    }
    walk(&schema(), "");
}
