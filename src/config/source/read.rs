use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::node::{Node, NodeValue, Span};
use super::yaml;
use crate::config::report::{Report, Source};

/// Largest file of YAML, in bytes.
const MAX_YAML: u64 = 5 << 20;
/// Largest key, certificate or secret, in bytes: the system's bundle of authorities has 220 KiB.
pub const MAX_SECRET: u64 = 1 << 20;

/// The bytes of a file that a configuration names, at most `max` of them.
pub fn read_bytes(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= max => Ok(bytes),
        _ => Err(io::Error::other(format!("it is larger than {}", size(max)))),
    }
}

fn size(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Reads a file of YAML as text.
pub fn read_text(path: &Path, report: &mut Report) -> Option<String> {
    report.depends_on(path);
    match read_bytes(path, MAX_YAML) {
        Ok(bytes) => text_of(path, bytes, report),
        Err(error) => {
            report.error_with_file(path, format!("the file can't be read: {}", plain(&error)));
            None
        }
    }
}

fn text_of(path: &Path, bytes: Vec<u8>, report: &mut Report) -> Option<String> {
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Some(text),
        Err(error) => error,
    };
    let at = error.utf8_error().valid_up_to();
    let byte = error.as_bytes().get(at).copied().unwrap_or_default();
    // What stands before the first bad byte keeps its place in the lossy text.
    let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let file = report.add_source(Source::new(path, &lossy));
    let message = format!("the file is not UTF-8 text: it has the byte 0x{byte:02x} here");
    report.error_at(Span { file, start: at, end: at }, "", message);
    None
}

/// What stands at the top of the main file.
pub const MAIN: &str = "start with `listen:`; conf/example.yaml shows the rest";
/// What stands at the top of an included one.
pub const PART: &str = "write keys such as `routes:` into it, or leave it out of `include`";

/// Parses the text of a file; its top must be a map. The hint says what belongs there.
pub fn parse(path: &Path, text: &str, hint: &str, report: &mut Report) -> Option<Node> {
    let file = report.add_source(Source::new(path, text));
    let node = yaml::parse(file, report)?;
    match node.value {
        NodeValue::Map(_) => Some(node),
        NodeValue::Null => {
            report.error_with_file(path, "the file holds no configuration").hint(hint);
            None
        }
        _ => {
            let message = format!("a configuration is a map of keys, this is {}", node.kind());
            report.error_at(node.span, "", message).hint(hint);
            None
        }
    }
}

/// The reason without the operating system's number.
pub fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}
