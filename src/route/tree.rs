use std::collections::HashMap;
use std::sync::Arc;

use crate::config::model::{PathPattern, PathSegment, PathTail};

/// The path patterns of one host, as a tree over segments: a request walks down it once, however
/// many routes there are.
#[derive(Debug, Default)]
pub(super) struct PathTree {
    root: Node,
}

/// A route at the place in the tree where its pattern ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Place among all routes by precedence; greater is more specific.
    pub rank: usize,
    /// Place in the configuration.
    pub route: usize,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Arc<str>, Node>,
    capture: Option<Box<Node>>,
    /// Patterns that end here, by their tail.
    end: Vec<Candidate>,
    end_slash: Vec<Candidate>,
    prefix: Vec<Candidate>,
    rest: Vec<Candidate>,
}

impl PathTree {
    /// Adds a route. Those added first come first where ranks don't tell: add the greatest rank
    /// first.
    pub fn add(&mut self, pattern: &PathPattern, candidate: Candidate) {
        let mut node = &mut self.root;
        for segment in &pattern.segments {
            node = match segment {
                PathSegment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                PathSegment::Capture(_) => node.capture.get_or_insert_default(),
            };
        }
        let ending = match pattern.tail {
            // The root has no segment that a slash could follow: "/" is it, however it is meant.
            PathTail::End { slash } if slash || pattern.segments.is_empty() => &mut node.end_slash,
            PathTail::End { .. } => &mut node.end,
            PathTail::Prefix => &mut node.prefix,
            PathTail::Rest(_) => &mut node.rest,
        };
        ending.push(candidate);
    }

    /// Shows every list of routes whose pattern takes this path, each list with the most specific
    /// route first.
    pub fn walk<'t>(&'t self, path: &str, see: &mut impl FnMut(&'t [Candidate])) {
        if let Some(rest) = path.strip_prefix('/') {
            self.root.walk(Some(rest), see);
        }
    }
}

impl Node {
    /// `rest` is what follows the slash behind this node's segment; `None` if no slash does.
    /// A normal path has no empty segment, so an empty rest is a trailing slash.
    fn walk<'t>(&'t self, rest: Option<&str>, see: &mut impl FnMut(&'t [Candidate])) {
        see(&self.prefix);
        match rest {
            None => see(&self.end),
            Some("") => see(&self.end_slash),
            Some(rest) => {
                see(&self.rest);
                let (segment, below) = match rest.split_once('/') {
                    Some((segment, below)) => (segment, Some(below)),
                    None => (rest, None),
                };
                if let Some(literal) = self.literals.get(segment) {
                    literal.walk(below, see);
                }
                if let Some(capture) = &self.capture {
                    capture.walk(below, see);
                }
            }
        }
    }
}
