use strsim::damerau_levenshtein;

/// The known name that somebody most likely meant, if one is near.
pub fn nearest<'n>(written: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // A user's megabyte-long key is no misspelling, and comparing it would take a while.
    if written.len() > 80 {
        return None;
    }
    let plain = written.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| {
            (damerau_levenshtein(&plain, &name.to_ascii_lowercase().replace('-', "_")), name)
        })
        .filter(|(distance, name)| *distance <= allowed(name.len().max(written.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// One slip in short names, one in three letters of longer ones.
fn allowed(length: usize) -> usize {
    (length / 3).max(1)
}

/// Names in backticks, joined by commas: at most twenty.
pub fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let mut names = names.into_iter();
    let first: Vec<String> = names.by_ref().take(20).map(|name| format!("`{name}`")).collect();
    let more = if names.next().is_some() { ", …" } else { "" };
    first.join(", ") + more
}

/// `did you mean …`, or all there are. `None` if there are none.
pub fn suggestion<'n>(
    written: &str,
    known: impl IntoIterator<Item = &'n str> + Clone,
) -> Option<String> {
    if let Some(name) = nearest(written, known.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    match known.clone().into_iter().take(2).count() {
        0 => None,
        1 => Some(format!("there is only {}", listed(known))),
        _ => Some(format!("there are {}", listed(known))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name() {
        let known = ["quotas", "routes", "clusters", "max_body"];
        for (written, meant) in [
            ("qoutas", "quotas"),
            ("route", "routes"),
            ("Clusters", "clusters"),
            ("max-body", "max_body"),
        ] {
            assert_eq!(nearest(written, known), Some(meant));
        }
        assert_eq!(nearest("banana", known), None);
        assert_eq!(nearest(&"q".repeat(1 << 20), known), None);
    }

    #[test]
    fn without_a_near_name_all_are_listed() {
        assert_eq!(suggestion("zzz", ["a1", "b1"]).unwrap(), "there are `a1`, `b1`");
        assert_eq!(suggestion("zzz", ["a1"]).unwrap(), "there is only `a1`");
        assert_eq!(suggestion("zzz", []), None);
    }
}
