use super::*;

const FOLDER: &str = "tests/golden/config";

/// Every broken configuration in the folder against what a user reads of it. With UPDATE_GOLDEN=1
/// the texts are written anew.
#[test]
fn broken_configurations_are_explained_as_the_golden_files_say() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differing = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = Path::new(FOLDER).join(entry.unwrap().file_name());
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        count += 1;
        let found = match load(&path) {
            Ok(_) => panic!("{} is not broken", path.display()),
            Err(problems) => problems.to_string(),
        };
        let golden = path.with_extension("txt");
        if update {
            fs::write(&golden, &found).unwrap();
        } else if fs::read_to_string(&golden).ok().as_ref() != Some(&found) {
            differing.push(format!("{}:\n{found}", path.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(count >= 30, "only {count} golden files");
}
