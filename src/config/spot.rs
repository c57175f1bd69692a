use super::mask;
use super::report::Report;
use super::source::{Entry, Node, NodeValue, Span};

/// Longest part of a value that a message repeats, in characters.
const QUOTED: usize = 60;

/// A place in the configuration, written or not: what checks walk along and messages point to.
#[derive(Clone, Debug)]
pub struct Spot<'t> {
    /// `None` if nothing is written here.
    node: Option<&'t Node>,
    /// The key that leads here; the nearest one that is written.
    key: Span,
    path: String,
    secret: bool,
}

impl<'t> Spot<'t> {
    /// The top.
    pub fn root(node: &'t Node) -> Self {
        Self { node: Some(node), key: first_key(node), path: String::new(), secret: false }
    }

    /// The place below a key.
    pub fn key(&self, name: &str) -> Self {
        let entry = self.node.and_then(|node| node.entry(name));
        Self {
            node: entry.map(|entry| &entry.node),
            key: entry.map_or(self.key, |entry| entry.key_span),
            path: self.path_of(name),
            secret: self.secret || mask::is_secret_key(name),
        }
    }

    /// The path of [`Spot::key`], without a look at what is written there.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) }
    }

    /// The place below the key that stands at this position: quicker than by name where there may
    /// be very many.
    pub fn member(&self, position: usize) -> Self {
        let entries = match self.node.map(|node| &node.value) {
            Some(NodeValue::Map(entries)) => entries.as_slice(),
            _ => &[],
        };
        let Some(entry) = entries.get(position) else { return self.clone() };
        Self {
            node: Some(&entry.node),
            key: entry.key_span,
            path: format!("{}.{}", self.path, entry.key),
            secret: self.secret || mask::is_secret_key(&entry.key),
        }
    }

    /// The place of the item that stands at this position now.
    pub fn item(&self, position: usize) -> Self {
        let item = self.node.and_then(Node::items).and_then(|items| items.get(position));
        Self {
            node: item.map(|item| &item.node),
            key: item.map_or(self.key, |item| first_key(&item.node)),
            path: format!("{}[{}]", self.path, item.map_or(position, |item| item.index)),
            secret: self.secret,
        }
    }

    /// The place to which a JSON Pointer's segments lead.
    pub fn walk<S: AsRef<str>>(&self, segments: impl Iterator<Item = S>) -> Self {
        segments.fold(self.clone(), |spot, segment| {
            let segment = segment.as_ref();
            match (spot.node.and_then(Node::items), segment.parse()) {
                (Some(_), Ok(position)) => spot.item(position),
                _ => spot.key(segment),
            }
        })
    }

    /// The keys that are written here, if this is a map.
    pub fn keys(&self) -> impl Iterator<Item = &'t str> {
        let entries: &'t [Entry] = match self.node.map(|node| &node.value) {
            Some(NodeValue::Map(entries)) => entries,
            _ => &[],
        };
        entries.iter().map(|entry| entry.key.as_str())
    }

    /// What is written here.
    pub fn node(&self) -> Option<&'t Node> {
        self.node
    }

    /// Whether something is written here.
    pub fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// Where in the configuration this is: `routes[2].cache.fresh`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The bytes that a message about the value underlines: the value, or the key of a list or a
    /// map.
    pub fn value_span(&self) -> Span {
        match self.node {
            Some(node) if !node.is_container() => node.span,
            _ => self.key,
        }
    }

    /// The bytes of the key.
    pub fn key_span(&self) -> Span {
        self.key
    }

    /// The bytes of a part of the text that is written here, if it stands there letter by letter.
    pub fn part_span(&self, report: &Report, from: usize, to: usize) -> Span {
        let whole = self.value_span();
        let text = self.node.and_then(Node::text).filter(|text| text.written.is_none());
        let found = text.and_then(|text| {
            let written = report.source(whole.file)?.text.get(whole.range())?;
            written.find(text.value.as_str())
        });
        match found {
            Some(at) => {
                let start = whole.start + at;
                Span { start: start + from, end: start + to.max(from), ..whole }
            }
            None => whole,
        }
    }

    /// Whether the value must not be shown.
    pub fn is_secret(&self) -> bool {
        let has_secret = self.node.and_then(Node::text).is_some_and(|text| text.written.is_some());
        self.secret || has_secret
    }

    /// The value for a message, secrets hidden.
    pub fn quoted(&self) -> String {
        let Some(node) = self.node else { return "nothing".into() };
        let text = match &node.value {
            NodeValue::Text(text) => match &text.written {
                Some(written) if mask::is_reference(written) => return format!("`{written}`"),
                Some(_) => return "a secret".into(),
                None if self.secret => return "a secret".into(),
                None => text.value.clone(),
            },
            NodeValue::Bool(flag) => flag.to_string(),
            NodeValue::Number(number) => number.to_string(),
            NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => return node.kind().into(),
        };
        format!("`{}`", shortened(&text))
    }
}

/// A text on one line, not too long.
pub fn shortened(text: &str) -> String {
    let mut short: String =
        text.chars().take(QUOTED).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(QUOTED).is_some() {
        short.push('…');
    }
    short
}

/// A map has no mark of its own in the file: its first key stands for it.
fn first_key(node: &Node) -> Span {
    match &node.value {
        NodeValue::Map(entries) => entries.first().map_or(node.span, |entry| entry.key_span),
        _ => node.span,
    }
}
