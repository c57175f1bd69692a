use super::*;
use crate::testing::authority::{Authority, Signed};

const REST: &str = "listen: [{address: 127.0.0.1:8080}]\nstate: {directory: state}\n\
    routes: [{id: a, match: {path: /a}, authenticate: none, answer: {}}]\n";

#[test]
fn a_file_of_more_than_five_megabytes_is_not_read() {
    let folder = Folder::new();
    let main = folder.write("big.yaml", REST.to_owned() + &"#".repeat(5 << 20));
    assert_eq!(
        folder.problems(&main),
        "error: the file can't be read: it is larger than 5 MiB\n --> DIR/big.yaml\n\n1 problem\n"
    );
    let main = folder.write("small.yaml", REST.to_owned() + &"#".repeat(4 << 20));
    assert!(load(&main).is_ok());
}

#[test]
fn a_file_that_is_not_there_or_a_folder_says_so() {
    let folder = Folder::new();
    let missing = folder.0.path().join("none.yaml");
    assert!(folder.problems(&missing).contains("there is no such file"));
    assert!(folder.problems(folder.0.path()).contains("it is a folder"));
}

#[test]
fn a_thousand_problems_are_kept_and_the_others_counted() {
    let folder = Folder::new();
    let wrong: String = (0..5000).map(|number| format!("wrong{number}: 1\n")).collect();
    let main = folder.write("wrong.yaml", REST.to_owned() + &wrong);
    let problems = load(&main).unwrap_err();
    assert_eq!((problems.iter().count(), problems.count()), (1000, 5000));
    assert!(problems.to_string().ends_with("5000 problems, 4000 of them not shown\n"));
}

/// One line of a megabyte: what a problem shows of it, and the time for all, stay bounded.
#[test]
fn a_line_of_a_megabyte_is_shown_in_part() {
    let folder = Folder::new();
    let wrong: String =
        (0..8000).map(|number| format!("token{number}: {}, ", "é".repeat(30))).collect();
    let main = folder.write("wrong.yaml", format!("{REST}cache: {{{wrong}}}\n"));
    let problems = load(&main).unwrap_err();
    assert_eq!(problems.count(), 8000);
    assert!(problems.to_string().lines().all(|line| line.chars().count() < 200));
}

#[test]
fn problems_are_given_to_programs_as_json() {
    let folder = Folder::new();
    let main = folder.write("a.yaml", format!("{REST}qoutas: {{}}\n"));
    let problems = load(&main).unwrap_err();
    let file = main.display().to_string();
    assert_eq!(
        problems.to_json(),
        serde_json::json!([{
            "file": file, "line": 4, "column": 1, "end_column": 7,
            "message": "unknown key `qoutas`", "hint": "did you mean `quotas`?", "path": "qoutas",
        }])
    );
}

#[test]
fn several_files_are_judged_together() {
    let folder = Folder::new();
    let (good, bad) = (folder.write("good.yaml", REST), folder.write("bad.yaml", "x: 1\n"));
    assert_eq!(crate::config::load_many(&[good.clone(), good.clone()]).unwrap().len(), 2);
    let problems = crate::config::load_many(&[bad.clone(), good, bad]).unwrap_err();
    assert_eq!(problems.count(), 8);
}

#[test]
fn included_files_are_read_in_the_order_of_their_names() {
    let folder = Folder::new();
    let route = |id: &str| {
        format!(
            "routes: [{{id: {id}, match: {{path: /{id}}}, authenticate: none, answer: {{}}}}]\n"
        )
    };
    for (name, id) in
        [("20-c.yaml", "c"), ("10-b.yaml", "b"), (".hidden.yaml", "x"), ("note.txt", "y")]
    {
        folder.write(&format!("conf.d/{name}"), route(id));
    }
    folder.write("extra.yaml", route("d"));
    let main = folder
        .write("main.yaml", format!("include: ['conf.d/*.yaml', extra.yaml, 'ext*']\n{REST}"));
    let config = load(&main).unwrap_or_else(|problems| panic!("{problems}"));
    let ids: Vec<&str> = config.routes.iter().map(|route| route.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
}

#[test]
fn a_problem_in_an_included_file_does_not_hide_those_of_the_others() {
    let folder = Folder::new();
    folder.write("conf.d/1.yaml", "routes: [\n");
    folder.write("conf.d/2.yaml", "qoutas: {}\n");
    let main = folder.write("main.yaml", format!("include: ['conf.d/*.yaml']\n{REST}stat: {{}}\n"));
    let text = folder.problems(&main);
    for part in ["DIR/conf.d/1.yaml:", "`qoutas`", "`stat`", "3 problems"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_key_must_belong_to_its_certificate() {
    let folder = Folder::new();
    let (one, other) = (certificate(&["a.example"]), certificate(&["b.example"]));
    folder.write("one.pem", one.cert.pem());
    folder.write("other.key", other.signing_key.serialize_pem());
    folder.write("one.key", one.signing_key.serialize_pem());
    folder.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let with = |pair: &str| {
        let text = REST.replace("8080}", &format!("8080, tls: {{certificates: [{pair}]}}}}"));
        folder.write("tls.yaml", text)
    };
    assert!(load(&with("{certificate: one.pem, key: one.key}")).is_ok());
    for (pair, message) in [
        ("{certificate: one.pem, key: other.key}", "`other.key` is not the key of `one.pem`"),
        ("{certificate: one.key, key: one.pem}", "are certificate and key swapped?"),
        ("{certificate: one.pem, key: locked.key}", "the key is encrypted"),
    ] {
        let text = folder.problems(&with(pair));
        assert!(text.contains(message), "{text}");
    }
}

#[test]
fn what_ends_soon_is_warned_of_where_it_stands_and_is_no_problem() {
    const DAY: u64 = 86_400;
    let (folder, authority) = (Folder::new(), Authority::new("here"));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let warned = |shown: &Signed, clients: &str| {
        let (certificate, key) = (shown.certificate_file.display(), shown.key_file.display());
        let tls =
            format!("tls: {{certificates: [{{certificate: {certificate}, key: {key}}}]{clients}}}");
        let main = folder.write("tls.yaml", REST.replace("8080}", &format!("8080, {tls}}}")));
        let config = load(&main).unwrap_or_else(|problems| panic!("{problems}"));
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let signed = |ends: u64| authority.sign_until("one", &["a.example"], ends);
    assert_eq!(warned(&signed(now + 31 * DAY), ""), "");
    let soon = warned(&signed(now + 30 * DAY - 60), "");
    assert!(
        soon.starts_with("warning: `") && soon.contains("one.crt` ends in 29 days, "),
        "{soon}"
    );
    assert!(soon.contains("tls.yaml:1:"), "{soon}");
    let over = warned(&signed(now - DAY - 60), "");
    assert!(over.contains("one.crt` expired 1 day ago, "), "{over}");

    // Of authorities the last one counts: the others may be on their way out.
    let old = signed(now - DAY).certificate;
    let good = authority.sign("good", &["a.example"]);
    let clients = ", client_certificates: {authorities: clients.pem, required: true}";
    folder.write("clients.pem", old.clone() + &good.certificate);
    assert_eq!(warned(&good, clients), "");
    folder.write("clients.pem", old);
    let over = warned(&good, clients);
    assert!(over.starts_with("warning: the last authority in `clients.pem` expired"), "{over}");
}

#[test]
fn a_secret_can_not_add_keys_and_is_never_shown() {
    let folder = Folder::new();
    folder.write("secret", "hunter2\nadmin: {}\n\n");
    let main = folder
        .write("a.yaml", format!("{REST}clusters: {{a: {{endpoints: ['${{file:secret}}']}}}}\n"));
    let text = folder.problems(&main);
    assert!(text.contains("`${file:secret}` has no port"), "{text}");
    assert!(!text.contains("hunter2"));
}

#[test]
fn thousands_of_routes_are_no_alias_bomb() {
    let folder = Folder::new();
    let routes: String = (0..3000)
        .map(|number| format!("  - {{id: r{number}, match: {{path: \"/r/{number}/{{x}}\", methods: [GET]}}, authenticate: none, answer: {{}}}}\n"))
        .collect();
    let main = folder.write(
        "a.yaml",
        format!(
            "listen: [{{address: 127.0.0.1:8080}}]\nstate: {{directory: s}}\nroutes:\n{routes}"
        ),
    );
    assert_eq!(load(&main).unwrap().routes.len(), 3000);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Whatever stands in a file, the answer is a configuration or problems.
    #[test]
    fn any_text_gets_an_answer(text in "(listen|routes|state|id|match|path|[-:{}\\[\\]&*!|>'\"%@#$, \t\n]|[a-c0-9é\u{0}]){0,60}") {
        let _ = crate::config::load_text(Path::new("any.yaml"), &text);
    }

    /// A byte of a right configuration that is lost or replaced gets an answer too.
    #[test]
    fn damaged_configurations_get_an_answer(at in 0_usize..2000, byte in "[ -~\n\t]") {
        let mut text = fs::read_to_string("conf/demo.yaml").unwrap();
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            text.replace_range(at..=at, &byte);
        }
        let _ = crate::config::load_text(Path::new("conf/demo.yaml"), &text);
    }
}

#[test]
fn conditions_that_would_exhaust_the_stack_are_refused() {
    let folder = Folder::new();
    let with = |condition: &str| {
        let text = REST.replace("answer: {}", &format!("answer: {{}}, condition: \"{condition}\""));
        folder.write("a.yaml", text)
    };
    assert!(load(&with(&format!("{}true{}", "(".repeat(20), ")".repeat(20)))).is_ok());
    for deep in [
        "(".repeat(4000),
        format!("{}1{}", "[".repeat(40), "]".repeat(40)),
        "true ? 1 : ".repeat(50) + "1",
        "1".to_owned() + &"+1".repeat(1000) + " > 0",
    ] {
        let text = folder.problems(&with(&deep));
        assert!(text.contains("deep"), "{text}");
    }
    let long = format!("'{}' == ''", "x".repeat(5000));
    assert!(folder.problems(&with(&long)).contains("longer than 4096 bytes"));
}
