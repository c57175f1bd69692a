/// Characters of a line that are shown.
const WIDTH: usize = 120;
/// Characters shown before the place that is meant, in a line that is too long.
const BEFORE: usize = 40;

/// A line of a file, made fit for a terminal, and the part of it that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The line, or the part of it around the place.
    pub line: String,
    /// Characters before the place.
    pub from: usize,
    /// Characters of the place; at least one.
    pub length: usize,
}

impl Excerpt {
    /// Shows a line with the characters `from..to` marked; `cut` says whether the line goes on
    /// before or behind.
    pub fn of(line: &str, from: usize, to: usize, cut: (bool, bool)) -> Self {
        let characters: Vec<char> = line.chars().map(harmless).collect();
        let from = from.min(characters.len());
        let to = to.clamp(from, characters.len());
        let fits = characters.len() <= WIDTH && cut == (false, false);
        let start = if fits { 0 } else { from.saturating_sub(BEFORE) };
        let end = (start + WIDTH).min(characters.len());
        let (more_before, more_behind) = (start > 0 || cut.0, end < characters.len() || cut.1);
        let mut shown = String::with_capacity(WIDTH + 2);
        if more_before {
            shown.push('…');
        }
        shown.extend(characters.iter().skip(start).take(end - start));
        if more_behind {
            shown.push('…');
        }
        let length = to.min(end).saturating_sub(from).max(1);
        Self { line: shown, from: from - start + usize::from(more_before), length }
    }
}

/// Tabs become one blank, so that marks stand where they should; whatever else a terminal might
/// obey becomes U+FFFD.
fn harmless(character: char) -> char {
    match character {
        '\t' => ' ',
        hidden if hidden.is_control() => char::REPLACEMENT_CHARACTER,
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_below_what_is_meant_in_a_long_line_too() {
        let line = format!("{}wrong{}", "a".repeat(500), "b".repeat(500));
        let excerpt = Excerpt::of(&line, 500, 505, (false, false));
        let marked: String = excerpt.line.chars().skip(excerpt.from).take(excerpt.length).collect();
        assert_eq!(marked, "wrong");
        assert!(excerpt.line.chars().count() <= WIDTH + 2);
    }

    #[test]
    fn an_escape_sequence_does_not_reach_the_terminal() {
        let excerpt = Excerpt::of("a\u{1b}[31m\tb\u{202e}", 0, 1, (false, false));
        assert_eq!(excerpt.line, "a\u{fffd}[31m b\u{fffd}");
    }

    #[test]
    fn a_place_at_the_end_of_a_line_still_has_a_mark() {
        let expected = Excerpt { line: "abc".into(), from: 3, length: 1 };
        assert_eq!(Excerpt::of("abc", 3, 3, (false, false)), expected);
        let expected = Excerpt { line: "…abc…".into(), from: 2, length: 1 };
        assert_eq!(Excerpt::of("abc", 1, 2, (true, true)), expected);
    }
}
