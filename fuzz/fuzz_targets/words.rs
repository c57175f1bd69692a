//! Changes a configuration as its writer might: by words and lines. libFuzzer's own changes of
//! bytes seldom get past the YAML parser.

use std::sync::LazyLock;

use serde_json::Value;

/// What configurations are written with: the schema's keys, words, examples and defaults, and
/// values at which something may give way.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut words: Vec<String> = ODD.iter().map(|word| (*word).to_owned()).collect();
    collect(&tollgate::config::written_schema(), &mut words);
    words.sort();
    words.dedup();
    words
});

const ODD: [&str; 40] = [
    "0", "1", "-1", "18446744073709551615", "1e308", "0.5", "null", "true", "x", "\"\"", "[]",
    "{}", "''", "é", "0s", "1ms", "24h", "999999999d", "1KiB", "18446744073709551615GiB",
    "\"${env:TOLLGATE_ADMIN_TOKEN}\"", "\"${file:account.key}\"", "\"${file:none}\"", "\"$${x}\"",
    "${", "*x", "&x", "conf.d/*.yaml", "ca.pem", "server.pem", "server.key", "0.0.0.0:0",
    "[::1]:80", "/a/{account}/*", "{account}", "header.x-id", "body./a/0", "account", "<<", "? x",
];

fn collect(schema: &Value, words: &mut Vec<String>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
        Value::Object(members) => {
            for (key, value) in members {
                match (key.as_str(), value) {
                    ("properties", Value::Object(keys)) => words.extend(keys.keys().cloned()),
                    ("enum" | "examples", Value::Array(values)) => {
                        words.extend(values.iter().map(|value| value.to_string()));
                    }
                    ("default" | "const", value) => words.push(value.to_string()),
                    _ => {}
                }
                collect(value, words);
            }
        }
        _ => {}
    }
}

/// libFuzzer's custom mutator.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut dice = Dice(u64::from(seed) << 20 | 0x9e37);
    let text = std::str::from_utf8(data.get(..size).unwrap_or_default()).unwrap_or_default();
    if text.is_empty() || dice.throw(4) == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let mut changed = text.to_owned();
    for _ in 0..=dice.throw(3) {
        changed = match dice.throw(5) {
            0 => lines(&changed, &mut dice),
            1 => insert(&changed, &mut dice),
            _ => replace(&changed, &mut dice),
        };
    }
    if changed.len() > max_size {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(changed.as_bytes());
    changed.len()
}

/// A line goes, comes twice or moves.
fn lines(text: &str, dice: &mut Dice) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(from) = dice.below(lines.len()) else { return text.to_owned() };
    let line = lines[from];
    let how = dice.throw(3);
    if how != 0 {
        lines.remove(from);
    }
    if how != 1 {
        lines.insert(dice.throw(lines.len() + 1), line);
    }
    lines.concat()
}

/// A word takes another's place.
fn replace(text: &str, dice: &mut Dice) -> String {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices().chain([(text.len(), ' ')]) {
        match (start, is_part(character)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                words.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    let Some(at) = dice.below(words.len()) else { return insert(text, dice) };
    let mut changed = text.to_owned();
    changed.replace_range(words[at].clone(), dice.word());
    changed
}

/// A key with a value comes where a line or a map begins.
fn insert(text: &str, dice: &mut Dice) -> String {
    let after = |(at, c): (usize, char)| "\n{[,".contains(c).then_some(at + c.len_utf8());
    let places: Vec<usize> = text.char_indices().filter_map(after).collect();
    let at = dice.below(places.len()).map_or(0, |nth| places[nth]);
    let (before, behind) = text.split_at(at);
    let end = if before.is_empty() || before.ends_with('\n') { "\n" } else { ", " };
    format!("{before}{}: {}{end}{behind}", dice.word(), dice.word())
}

/// Pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn below(&mut self, bound: usize) -> Option<usize> {
        (bound > 0).then(|| self.throw(bound))
    }

    fn word(&mut self) -> &'static str {
        let nth = self.throw(WORDS.len());
        &WORDS[nth]
    }
}
