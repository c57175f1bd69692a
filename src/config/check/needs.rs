use super::Check;
use crate::config::nearest::suggestion;
use crate::config::raw::{Fields, Part};
use crate::config::spot::Spot;

/// For each part the parts that must have answered before it: what it names in `needs`, and the
/// one whose list it goes through.
pub(super) fn needs(
    parts: &Fields<Part>,
    known: &[&str],
    parts_at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Vec<Vec<usize>> {
    let mut all = Vec::with_capacity(known.len());
    for (name, raw) in parts.iter() {
        let place = parts_at.key(name);
        let mut needs = Vec::new();
        let listed = raw.needs.iter().enumerate();
        let written = listed.map(|(position, need)| (need, place.key("needs").item(position)));
        for (need, at) in written {
            match find(need, known, &at, parts_at, check) {
                Some(index) if needs.contains(&index) => {
                    check.error(&at, format!("{} is here twice", at.quoted()));
                }
                found => needs.extend(found),
            }
        }
        if let Some(for_each) = &raw.for_each {
            let at = place.key("for_each").key("part");
            let found = find(&for_each.part, known, &at, parts_at, check);
            needs.extend(found.filter(|index| !needs.contains(index)));
        }
        all.push(needs);
    }
    report_cycle(&all, known, parts_at, check);
    all
}

fn find(
    name: &str,
    known: &[&str],
    at: &Spot<'_>,
    parts_at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<usize> {
    let found = known.iter().position(|part| *part == name);
    if found.is_none() && check.is_whole(&parts_at.key(name)) {
        let problem = check.error(at, format!("there is no part {}", at.quoted()));
        if let Some(hint) = suggestion(name, known.iter().copied()) {
            problem.hint(hint);
        }
    }
    found
}

fn report_cycle(needs: &[Vec<usize>], known: &[&str], at: &Spot<'_>, check: &mut Check<'_>) {
    let Some(cycle) = cycle(needs) else { return };
    let names: Vec<&str> = cycle.iter().filter_map(|index| known.get(*index).copied()).collect();
    let Some(first) = names.first() else { return };
    let place = at.key(first);
    let key = if place.key("needs").is_written() { "needs" } else { "for_each" };
    let way = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" needs ");
    check.error_on_key(
        &place.key(key),
        format!("these parts wait for each other: {way} needs `{first}`"),
    );
}

/// Parts that wait for each other in a circle, if there are any.
fn cycle(needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut done = vec![false; needs.len()];
    for start in 0..needs.len() {
        let mut way = Vec::new();
        if let Some(cycle) = walk(start, needs, &mut way, &mut done) {
            return Some(cycle);
        }
    }
    None
}

/// Parts are at most 64, so the depth is bounded.
fn walk(
    at: usize,
    needs: &[Vec<usize>],
    way: &mut Vec<usize>,
    done: &mut [bool],
) -> Option<Vec<usize>> {
    if done.get(at).copied().unwrap_or(true) {
        return None;
    }
    if let Some(since) = way.iter().position(|earlier| *earlier == at) {
        return way.get(since..).map(<[usize]>::to_vec);
    }
    way.push(at);
    let next = needs.get(at).map(Vec::as_slice).unwrap_or_default();
    let found = next.iter().find_map(|next| walk(*next, needs, way, done));
    way.pop();
    if let Some(flag) = done.get_mut(at) {
        *flag = true;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::cycle;

    #[test]
    fn a_circle_is_found_wherever_it_is() {
        assert_eq!(cycle(&[vec![0]]), Some(vec![0]));
        assert_eq!(cycle(&[vec![], vec![0, 2], vec![3], vec![1]]), Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_diamond_is_no_circle() {
        assert_eq!(cycle(&[vec![], vec![0], vec![0], vec![1, 2]]), None);
        assert_eq!(cycle(&[]), None);
    }
}
