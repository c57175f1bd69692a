use std::collections::HashMap;

use super::*;
use crate::config::report::Report;
use crate::config::schema::form;
use crate::config::source::{self, Node, NodeValue};
use crate::config::{check, structure};

/// The places of all values in a tree, as ways from the top.
fn places(node: &Node, way: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
    let children: Vec<&Node> = match &node.value {
        NodeValue::List(items) => items.iter().map(|item| &item.node).collect(),
        NodeValue::Map(members) => members.iter().map(|member| &member.node).collect(),
        _ => Vec::new(),
    };
    if !way.is_empty() {
        all.push(way.clone());
    }
    for (number, child) in children.into_iter().enumerate() {
        way.push(number);
        places(child, way, all);
        way.pop();
    }
}

fn at<'n>(root: &'n mut Node, way: &[usize]) -> &'n mut Node {
    way.iter().fold(root, |node, number| match &mut node.value {
        NodeValue::List(items) => &mut items[*number].node,
        NodeValue::Map(members) => &mut members[*number].node,
        _ => panic!("no children"),
    })
}

/// A number below all bounds: no key takes it.
fn wrong_value(node: &mut Node) {
    node.value = NodeValue::Number((-1).into());
}

fn misspelt_key(node: &mut Node) {
    if let Some(entry) = node.entries_mut().and_then(|entries| entries.first_mut()) {
        entry.key.push('z');
    }
}

/// Loads the full configuration after values were broken; what is said beyond their form.
fn second_complaints(main: &Path, breaking: impl Fn(&mut Node)) -> Option<String> {
    let mut report = Report::default();
    let mut root = load(main, &mut report);
    breaking(&mut root);
    let broken = structure::check(&mut root, form(), &mut report);
    let by_form = report.count();
    check::check(&root, &broken, &mut report);
    let more = by_form > 0 && report.count() > by_form;
    more.then(|| report.into_problems().to_string())
}

fn load(main: &Path, report: &mut Report) -> Node {
    source::load(main, &Environment::new(&environment), report).expect("it can be read").root
}

fn all_places(main: &Path) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    places(&load(main, &mut Report::default()), &mut Vec::new(), &mut all);
    assert!(all.len() > 300, "{}", all.len());
    all
}

#[test]
fn a_value_of_a_wrong_form_makes_no_second_complaint() {
    let (_folder, main) = super::full::full();
    // One place of each item at a time: a broken item must not make another look wrong either.
    let (mut rounds, mut sections) = (Vec::new(), Vec::new());
    let mut taken: HashMap<Vec<usize>, usize> = HashMap::new();
    for way in all_places(&main) {
        let Some(item) = way.get(..2) else {
            sections.push(vec![way]);
            continue;
        };
        let round = taken.entry(item.to_vec()).or_default();
        rounds.resize(rounds.len().max(*round + 1), Vec::new());
        rounds[*round].push(way);
        *round += 1;
    }
    for round in sections.into_iter().chain(rounds) {
        let second = second_complaints(&main, |root| {
            round.iter().for_each(|way| wrong_value(at(root, way)));
        });
        assert_eq!(second, None, "{}", second.clone().unwrap_or_default());
    }
}

#[test]
fn a_misspelt_key_makes_no_second_complaint() {
    let (_folder, main) = super::full::full();
    let mut whole = load(&main, &mut Report::default());
    for way in all_places(&main) {
        if at(&mut whole, &way).entries_mut().is_none() {
            continue;
        }
        let second = second_complaints(&main, |root| misspelt_key(at(root, &way)));
        assert_eq!(second, None, "{}", second.clone().unwrap_or_default());
    }
}
