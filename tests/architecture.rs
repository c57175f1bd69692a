//! The house rules: which room may import which. Reads the `crate::` paths in the sources, so a
//! wrong import fails here before anyone builds on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What every stage may use.
const BASE: [&str; 5] = ["request", "config", "observe", "net", "journal"];

/// Rooms a room may import, beside itself.
fn allowed(room: &str) -> Option<BTreeSet<&'static str>> {
    let base_and = |more: &[&'static str]| BASE.iter().chain(more).copied().collect();
    Some(match room {
        "request" => BTreeSet::new(),
        "config" => BTreeSet::from(["request"]),
        "observe" | "net" | "journal" => BASE.into(),
        "listener" | "route" | "access" | "limit" | "guard" | "transform" | "upstream" | "auth"
        | "account" => base_and(&[]),
        "quota" | "vault" => base_and(&["account"]),
        "compose" => base_and(&["upstream", "transform"]),
        "gateway" => base_and(&[
            "listener",
            "route",
            "auth",
            "access",
            "limit",
            "guard",
            "account",
            "quota",
            "vault",
            "compose",
            "transform",
            "upstream",
        ]),
        "admin" => base_and(&["gateway"]),
        "cli" => BTreeSet::from(["config", "gateway", "admin", "observe", "request"]),
        _ => return None,
    })
}

/// Imports that break the rules, and circles, as sentences.
fn violations(source: &Path) -> Vec<String> {
    let imports = imports(source);
    let mut found: Vec<String> = Vec::new();
    for (room, (file, target)) in
        imports.iter().flat_map(|(room, uses)| uses.iter().map(move |u| (room, u)))
    {
        match allowed(room) {
            None => found.push(format!("{file}: '{room}' is not a room of this house")),
            Some(allowed) if target != room && !allowed.contains(target.as_str()) => {
                found.push(format!("{file}: '{room}' must not import '{target}'"));
            }
            Some(_) => {}
        }
    }
    found.extend(circle(&imports));
    found.sort();
    found.dedup();
    found
}

type Imports = BTreeMap<String, BTreeSet<(String, String)>>;

fn imports(source: &Path) -> Imports {
    let mut imports = Imports::new();
    for file in rust_files(source) {
        let relative = file.strip_prefix(source).unwrap();
        let Some(room) = room_of(relative) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        let uses = imports.entry(room).or_default();
        uses.extend(
            targets(&text).into_iter().map(|target| (relative.display().to_string(), target)),
        );
    }
    imports
}

/// The first folder, or the file's own name for a room of one file. `lib.rs` is the map, `main.rs`
/// and the programs under `bin` are no rooms.
fn room_of(relative: &Path) -> Option<String> {
    let first = relative.components().next()?.as_os_str().to_str()?;
    match first {
        "lib.rs" | "main.rs" | "bin" => None,
        other => Some(other.trim_end_matches(".rs").to_owned()),
    }
}

/// Rooms named behind `crate::` in code; comments and doc links don't count.
fn targets(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group_heads(group));
        } else {
            found.insert(word(rest));
        }
    }
    found.remove("");
    // What tests share is no room.
    found.remove("testing");
    found
}

/// First words of the members of `{a::b, c::{d, e}}`.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(word(group[start..at].trim_start()));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn circle(imports: &Imports) -> Option<String> {
    let edges: BTreeMap<&str, BTreeSet<&str>> = imports
        .iter()
        .map(|(room, uses)| {
            let targets = uses.iter().map(|(_, target)| target.as_str());
            (room.as_str(), targets.filter(|target| target != room).collect())
        })
        .collect();
    edges.keys().find_map(|start| walk(&edges, start, &mut vec![start]))
}

fn walk<'a>(
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    at: &'a str,
    way: &mut Vec<&'a str>,
) -> Option<String> {
    for next in edges.get(at).into_iter().flatten() {
        if let Some(from) = way.iter().position(|room| room == next) {
            return Some(format!(
                "the rooms import in a circle: {} -> {next}",
                way[from..].join(" -> ")
            ));
        }
        way.push(next);
        if let Some(found) = walk(edges, next, way) {
            return Some(found);
        }
        way.pop();
    }
    None
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_house_keeps_its_rules() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let found = violations(&source);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Nobody else speaks to Kafka: a change of the client library stays in these rooms.
#[test]
fn only_the_journal_and_the_cache_s_feed_speak_to_kafka() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let speaks = |file: &PathBuf| fs::read_to_string(file).unwrap().contains("rdkafka::");
    let mut speakers: Vec<_> = rust_files(&source).into_iter().filter(speaks).collect();
    speakers.retain(|file| {
        let folders = ["journal/kafka", "vault/feed"].map(|folder| source.join(folder));
        !folders.iter().any(|folder| file.starts_with(folder))
    });
    assert!(speakers.is_empty(), "{speakers:?}");
}

/// Metrics that a text names.
fn metrics(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_lowercase() && c != '_')
        .filter(|word| word.starts_with("tollgate_") || word.starts_with("process_"))
        .collect()
}

/// An alert on a metric that is called otherwise never comes, and nobody notices.
#[test]
fn shipped_alerts_ask_for_metrics_that_there_are_and_are_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let (reference, operations) = (read("docs/metrics.md"), read("docs/operations.md"));
    let known = metrics(&reference);
    let rules: serde_json::Value =
        serde_saphyr::from_str(&read("conf/prometheus/tollgate.rules.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let alerts: Vec<_> = groups.iter().flat_map(|one| one["rules"].as_array().unwrap()).collect();
    assert!(alerts.len() > 20);
    for alert in alerts {
        let text = |at: &str| alert.pointer(at).and_then(|text| text.as_str()).unwrap_or_default();
        let (name, asked) = (text("/alert"), metrics(text("/expr")));
        assert!(!asked.is_empty() || text("/expr").starts_with("up{"), "{name} asks for nothing");
        for metric in asked {
            // What a histogram is told in.
            let bare = metric.strip_suffix("_bucket").unwrap_or(metric);
            assert!(known.contains(bare), "{name}: docs/metrics.md has no {metric}");
        }
        assert!(["page", "ticket"].contains(&text("/labels/severity")), "{name}");
        for said in ["/annotations/summary", "/annotations/action"] {
            assert!(!text(said).is_empty(), "{name} lacks {said}");
        }
        let row = format!("| `{name}` |");
        assert!(operations.contains(&row), "docs/operations.md does not say what to do at {name}");
    }
}

#[test]
fn a_bad_house_is_found_out() {
    let house = tempfile::tempdir().unwrap();
    let build = |file: &str, text: &str| {
        let path = house.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    build("lib.rs", "pub mod quota;");
    build("request/mod.rs", "use crate::observe::Metrics;");
    build("observe/mod.rs", "/// See crate::vault.\nuse crate::request::Clock;");
    build("quota/mod.rs", "use crate::{account::AccountKey, upstream::{Clusters, Picked}};");
    build("account.rs", "fn f() { crate::quota::g() }");
    build("cellar/mod.rs", "use crate::request::Clock;");
    assert_eq!(
        violations(house.path()),
        [
            "account.rs: 'account' must not import 'quota'",
            "cellar/mod.rs: 'cellar' is not a room of this house",
            "quota/mod.rs: 'quota' must not import 'upstream'",
            "request/mod.rs: 'request' must not import 'observe'",
            "the rooms import in a circle: account -> quota -> account",
        ]
    );
}
