//! `tollgate check` and the end of certificates.

use serde_json::{Value, json};

use super::{Files, SOUND, tollgate};
use crate::support::tls::Authority;

#[test]
fn check_warns_of_certificates_that_end_soon_and_refuses_nothing_for_it() {
    let (files, authority) = (Files::new(), Authority::new("here"));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let (day, hour) = (86_400, 3_600);
    let [far, soon, over] =
        [("far", now + 31 * day), ("soon", now + 10 * day + hour), ("over", now - 2 * day - hour)]
            .map(|(file, ends)| authority.sign_until(file, &["a.example"], ends).entry());
    let tls = format!("8443\n    tls: {{ certificates: [{far}, {soon}, {over}] }}\n");
    let file = files.write("tls.yaml", &SOUND.replace("8080\n", &tls));
    let done = tollgate(&["check", &file], &[]);
    assert_eq!((done.status, &*done.out), (0, &*format!("{file}: ok (1 routes)\n")));
    assert_eq!(done.err.matches("warning: ").count(), 2, "{}", done.err);
    for told in [
        "soon.crt` ends in 10 days, at ",
        "over.crt` expired 2 days ago, at ",
        "put a new one in its place",
        &*format!("--> {file}:3:"),
    ] {
        assert!(done.err.contains(told), "{told:?} is missing from\n{}", done.err);
    }

    let done = tollgate(&["check", "--json", &file], &[]);
    assert_eq!((done.status, &*done.err), (0, ""));
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(report[0]["problems"], json!([]));
    let warnings = report[0]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 2, "{report:#}");
    assert!(warnings.iter().all(|warning| warning["line"] == 3), "{report:#}");
}
