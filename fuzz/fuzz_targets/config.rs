//! Any text is a configuration or a list of problems, each of which says where it is and shows no
//! secret. The folder in which this runs has the files that the seeds name (`run.sh` makes it).
#![no_main]

mod words;

use std::path::Path;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use tollgate::config::{MAX_PROBLEMS, Problem, Problems, load_text, restart_needed};
use tollgate::route::RouteTable;

const NAME: &str = "fuzz.yaml";
/// Begins what `run.sh` puts into the environment and the files of secrets.
const SECRET: &str = "zq7-secret-of-th";

fuzz_target!(|text: &str| {
    let shown = match load_text(Path::new(NAME), text) {
        Err(problems) => {
            check(&problems, text);
            format!("{problems}{}", problems.to_json())
        }
        Ok(config) => {
            assert!(restart_needed(&config, &config).is_empty());
            RouteTable::new(&config.routes);
            config.shown.to_string()
        }
    };
    assert!(text.contains(SECRET) || !shown.contains(SECRET), "a secret is shown: {shown}");
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    words::mutate(data, size, max_size, seed)
});

fn check(problems: &Problems, text: &str) {
    assert!((1..=MAX_PROBLEMS).contains(&problems.iter().count()));
    assert!(problems.count() >= problems.iter().count());
    let lines: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
    for problem in problems.iter() {
        assert!(!problem.message.is_empty() && problem.message.len() < 10_000, "{problem:?}");
        // Others are of files that are included, or of a file as a whole.
        if problem.file == NAME && problem.line > 0 {
            check_place(problem, &lines);
        }
    }
}

fn check_place(problem: &Problem, lines: &[usize]) {
    let length = lines.get(problem.line - 1).copied();
    let length = length.unwrap_or_else(|| panic!("no such line: {problem:?}"));
    assert!(problem.column >= 1 && problem.column <= length + 1, "{problem:?}");
    assert!(problem.end_column > problem.column, "{problem:?}");
    assert!(problem.end_column <= length + 2, "{problem:?}");
}
