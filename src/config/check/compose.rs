use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::part_path::{self, Scope};
use super::values::Has;
use super::{Bounds, Check, Names, edits, needs};
use crate::config::model::{Compose, Conflict, ForEach, Need, Part};
use crate::config::raw;
use crate::config::spot::Spot;

/// A route that many clusters answer.
pub(super) fn compose(
    raw: &raw::Compose,
    route: &raw::Route,
    at: &Spot<'_>,
    has: &Has<'_>,
    names: &Names,
    check: &mut Check<'_>,
) -> Option<Compose> {
    check_route(route, at, has, check);
    let place = at.key("compose").key("parts");
    let known: Vec<&str> = raw.parts.iter().map(|(name, _)| name).collect();
    let needs = needs::needs(&raw.parts, &known, &place, check);
    let mut parts = Vec::with_capacity(known.len());
    for ((name, raw), needs) in raw.parts.iter().zip(&needs) {
        let for_each = raw.for_each.is_some();
        let scope = Scope { has, parts: &known, parts_at: &place, part: name, needs, for_each };
        let part = Reading { name, raw, route, scope, place: place.key(name) };
        parts.extend(part.part(names, check));
    }
    let compose = Compose {
        parts,
        conflict: conflict(&raw.conflict),
        partial_member: raw.partial_member.as_str().into(),
    };
    check_places(&compose, &place, check);
    (compose.parts.len() == known.len()).then_some(compose)
}

/// A composition reads: it asks each part with GET and sends no body.
fn check_route(route: &raw::Route, at: &Spot<'_>, has: &Has<'_>, check: &mut Check<'_>) {
    let matches = at.key("match");
    let reads = |method: &raw::Method| matches!(method, raw::Method::Get | raw::Method::Head);
    let methods = matches.key("methods");
    let only_reads = !route.matches.methods.is_empty() && route.matches.methods.iter().all(reads);
    if !only_reads && check.is_whole(&methods) {
        let place = if methods.is_written() { methods } else { at.key("compose") };
        check
            .error_on_key(
                &place,
                "a composition asks its parts with GET, so it can answer nothing else",
            )
            .hint("write `methods: [GET]` in `match`");
    }
    let body = at.key("request").key("body");
    if body.is_written() {
        check.error_on_key(&body, "a composition sends no body to its parts");
    }
    if has.captured("item") {
        check
            .error(&matches.key("path"), "in a composition `{item}` stands for the item of a list")
            .hint("give that part of the path another name");
    }
}

fn conflict(raw: &raw::Conflict) -> Conflict {
    match raw {
        raw::Conflict::Error => Conflict::Error,
        raw::Conflict::First => Conflict::First,
        raw::Conflict::Last => Conflict::Last,
        raw::Conflict::Merge => Conflict::Merge,
        raw::Conflict::Concat => Conflict::Concat,
        raw::Conflict::Join(member) => Conflict::Join(member.as_str().into()),
    }
}

/// Finds places of the answer that are written twice for certain.
fn check_places(compose: &Compose, at: &Spot<'_>, check: &mut Check<'_>) {
    for (position, part) in compose.parts.iter().enumerate() {
        let place = at.key(&part.name).key("into");
        if part.into.first() == Some(&compose.partial_member) {
            check
                .error(&place, "the list of missing parts stands there")
                .hint("change one of `into` and `partial_member`");
        }
        let mut earlier = compose.parts.iter().take(position);
        let same = earlier.find(|other| !part.into.is_empty() && other.into == part.into);
        if let Some(other) = same.filter(|_| compose.conflict == Conflict::Error) {
            let other = &other.name;
            check
                .error(&place, format!("the part `{other}` writes to the same place"))
                .hint("say with `conflict` what happens then, or change `into`");
        }
    }
}

/// A part that is being read.
struct Reading<'a, 't> {
    name: &'a str,
    raw: &'a raw::Part,
    route: &'a raw::Route,
    scope: Scope<'a>,
    place: Spot<'t>,
}

impl Reading<'_, '_> {
    fn part(&self, names: &Names, check: &mut Check<'_>) -> Option<Part> {
        let Self { raw, place, .. } = self;
        let cluster = names.clusters.find(&raw.cluster, &place.key("cluster"), check);
        let path = part_path::path(&raw.path, &place.key("path"), &self.scope, check);
        let into = self.into(check);
        let need = self.need(check);
        let for_each = self.for_each(check);
        let edits = edits::json(&raw.edits, &place.key("edits"), check);
        let max_body = check.size(&place.key("max_body"), raw.max_body, 1, 64 << 20);
        let cluster = cluster?;
        Some(Part {
            name: self.name.into(),
            deadline: self.deadline(cluster.deadlines.total, check),
            cluster,
            path: path?,
            into,
            need,
            empty_on: statuses(&raw.empty_on),
            needs: self.scope.needs.to_vec(),
            for_each,
            edits,
            max_body,
        })
    }

    fn into(&self, check: &mut Check<'_>) -> Vec<Arc<str>> {
        let Some(text) = self.raw.into.as_deref() else { return vec![self.name.into()] };
        if text.is_empty() {
            return Vec::new();
        }
        if text.split('.').any(str::is_empty) {
            let place = self.place.key("into");
            check
                .error(&place, format!("{} has an empty member name", place.quoted()))
                .hint("member names are joined by single dots, as in `accounts.checking`");
        }
        text.split('.').map(Arc::from).collect()
    }

    fn need(&self, check: &mut Check<'_>) -> Need {
        match (self.raw.optional, &self.raw.default) {
            (true, Some(_)) => {
                let place = self.place.key("optional");
                check.error_on_key(
                    &place,
                    "a failed part leaves either a gap or its `default`, not both",
                );
                Need::Optional
            }
            (true, None) => Need::Optional,
            (false, Some(value)) => Need::Default(value.clone()),
            (false, None) => Need::Required,
        }
    }

    fn deadline(&self, total: Duration, check: &mut Check<'_>) -> Duration {
        let most = self.route.deadline.map(|deadline| deadline.0);
        let Some(raw) = self.raw.deadline else {
            return most.map_or(total, |most| most.min(total));
        };
        let place = self.place.key("deadline");
        let deadline = check.duration(&place, raw, Bounds::Timeout);
        if let Some(route) = self.route.deadline.filter(|route| deadline > route.0) {
            check.error(&place, format!("{raw} is longer than the whole route may take ({route})"));
        }
        deadline
    }

    fn for_each(&self, check: &mut Check<'_>) -> Option<ForEach> {
        let raw = self.raw.for_each.as_ref()?;
        let place = self.place.key("for_each");
        let list = edits::pointer(&raw.list, &place.key("list"), check);
        let part = self.scope.parts.iter().position(|name| *name == raw.part)?;
        Some(ForEach {
            part,
            list: list?,
            concurrency: usize::try_from(raw.concurrency).ok()?,
            max_items: usize::try_from(raw.max_items).ok()?,
        })
    }
}

fn statuses(codes: &[u16]) -> Vec<StatusCode> {
    codes.iter().filter_map(|code| StatusCode::from_u16(*code).ok()).collect()
}
