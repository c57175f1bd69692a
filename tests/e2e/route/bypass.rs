//! `/admin` needs a token, all else is public: no spelling gets there without one.

use bytes::Bytes;
use http::Response;
use serde_json::json;

use crate::support::gateway::base_config;
use crate::support::wire::Wire;
use crate::support::{Backend, Bank, Tollgate};

/// What becomes of a spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is `/admin`, and asks for a token.
    Guarded,
    /// It has no single meaning, or breaks HTTP.
    Refused,
    /// It is another path, of which the backend sees this one, plain spelling.
    Public(&'static str),
}

use Fate::{Guarded, Public, Refused};

/// Paths as attackers write them.
const SPELLINGS: [(&str, Fate); 78] = [
    // As it is meant.
    ("/admin", Guarded),
    ("/admin/", Guarded),
    ("/admin/users", Guarded),
    ("/admin?x", Guarded),
    ("/admin/users?/../../public", Guarded),
    ("/admin#x", Guarded),
    // Escapes.
    ("/%61dmin", Guarded),
    ("/%61%64%6d%69%6e", Guarded),
    ("/%61%64%6D%69%6E/users", Guarded),
    ("/adm%69n/users", Guarded),
    ("/admin%2fusers", Refused),
    ("/admin%2Fusers", Refused),
    ("%2fadmin", Refused),
    ("/%2fadmin", Refused),
    ("/%2e%2fadmin", Refused),
    ("/admin%5cusers", Refused),
    ("/public%2f..%2fadmin", Refused),
    // Escaped twice: decoded once by the gateway, and as it came to the backend.
    ("/%2561dmin", Public("/%2561dmin")),
    ("/%25%36%31dmin", Public("/%2561dmin")),
    ("/public/%252e%252e/admin", Public("/public/%252e%252e/admin")),
    ("/public/..%252fadmin", Public("/public/..%252fadmin")),
    ("/admin%252fusers", Public("/admin%252fusers")),
    ("/%%61dmin", Refused),
    // Dots.
    ("/./admin", Guarded),
    ("/.//admin", Guarded),
    ("/public/../admin", Guarded),
    ("/public/./../admin/users", Guarded),
    ("/public/x/../../admin", Guarded),
    ("/public/%2e%2e/admin", Guarded),
    ("/public/%2E%2e/admin", Guarded),
    ("/public/.%2e/admin", Guarded),
    ("/public/%2e./admin", Guarded),
    ("/%2e/admin", Guarded),
    ("/admin/.", Guarded),
    ("/admin/x/..", Guarded),
    ("/admin/%2e", Guarded),
    ("/admin/..", Public("/")),
    ("/admin/../public", Public("/public")),
    ("/admin/%2e%2e/public", Public("/public")),
    ("/public/.../admin", Public("/public/.../admin")),
    ("/../admin", Refused),
    ("/%2e%2e/admin", Refused),
    ("/public/../../admin", Refused),
    ("/admin./users", Public("/admin./users")),
    ("/admin.", Public("/admin.")),
    ("/.admin", Public("/.admin")),
    ("/admin..", Public("/admin..")),
    // Slashes.
    ("//admin", Guarded),
    ("///admin//users", Guarded),
    ("/public//../admin", Guarded),
    ("/%61dmin//", Guarded),
    ("/\\admin", Refused),
    ("\\admin", Refused),
    ("/public\\..\\admin", Refused),
    ("/public/..\\admin", Refused),
    ("/%5cadmin", Refused),
    ("/\u{2215}admin", Public("/%E2%88%95admin")),
    ("/\u{ff0f}admin", Public("/%EF%BC%8Fadmin")),
    // Parameters: text of their segment, and escaped for backends that would cut them off.
    ("/admin;x=1", Public("/admin%3Bx=1")),
    ("/admin;/users", Public("/admin%3B/users")),
    ("/;x/admin", Public("/%3Bx/admin")),
    ("/public/..;/admin", Public("/public/..%3B/admin")),
    ("/public/..;x=y/admin", Public("/public/..%3Bx=y/admin")),
    ("/public;/../admin", Guarded),
    ("/admin%3b", Public("/admin%3B")),
    // Case counts in a path.
    ("/ADMIN", Public("/ADMIN")),
    ("/Admin/users", Public("/Admin/users")),
    ("/%41dmin", Public("/Admin")),
    // What ends or breaks a text for some readers.
    ("/admin%00", Refused),
    ("/admin%00.png", Refused),
    ("/%00/admin", Refused),
    ("/admin%0a", Refused),
    ("/public%0d%0a/../admin", Refused),
    ("/admin%20", Public("/admin%20")),
    ("/admin%09", Refused),
    ("/%c0%ae%c0%ae/admin", Refused),
    ("/public/%u002e%u002e/admin", Refused),
    ("/admin%3f", Public("/admin%3F")),
];

/// Whole targets with a host in them (RFC 9112 section 3.2.2) and other odd ones.
const TARGETS: [(&str, Fate); 16] = [
    ("http://api.example/admin", Guarded),
    ("HTTP://api.example/admin/users", Guarded),
    ("https://api.example/admin", Guarded),
    ("http://api.example/%61dmin", Guarded),
    ("http://api.example//admin", Guarded),
    ("http://api.example/public/../admin", Guarded),
    ("http://api.example/public", Public("/public")),
    ("http://api.example", Public("/")),
    ("http://other.example/admin", Refused),
    ("http://user@api.example/admin", Refused),
    ("http://API.EXAMPLE/admin", Refused),
    ("http://api.example:80/admin", Refused),
    ("http://api.example\\@other/admin", Refused),
    ("ftp://api.example/admin", Refused),
    ("admin", Refused),
    ("?/../admin", Refused),
];

fn config(bank: &Bank, backend: &Backend) -> String {
    let port = backend.port();
    base_config(bank)
        + &format!("  site: {{ endpoints: [127.0.0.1:{port}] }}\n")
        + r#"
routes:
  - { id: admin, match: { path: "/admin/*" }, authenticate: bank, cluster: site }
  - { id: public, match: { path: "/*" }, authenticate: none, cluster: site }
"#
}

/// Asks on a connection of its own; the answer's status and what the backend saw.
async fn ask(
    gateway: &Tollgate,
    backend: &Backend,
    target: &str,
    field: &str,
) -> (u16, Vec<String>) {
    let before = backend.seen().len();
    let mut wire = Wire::to(gateway, 8080).await;
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: api.example\r\n{field}\r\n")).await;
    let status = wire.answer().await.status.as_u16();
    let seen = backend.seen().split_off(before);
    (status, seen.into_iter().map(|request| request.target).collect())
}

#[tokio::test]
async fn no_spelling_of_a_path_reaches_the_backend_under_another_policy() {
    let bank = Bank::start().await;
    let backend = Backend::start(|_| Response::new(Bytes::from("backend"))).await;
    let gateway = Tollgate::start(&config(&bank, &backend)).await;
    let token = bank.mint(json!({})).await;
    let authorization = format!("Authorization: Bearer {token}\r\n");
    for (target, fate) in SPELLINGS.into_iter().chain(TARGETS) {
        let without = ask(&gateway, &backend, target, "").await;
        let with = ask(&gateway, &backend, target, &authorization).await;
        match fate {
            Guarded => {
                assert_eq!(without, (401, Vec::new()), "{target}");
                let (status, seen) = with;
                // The token is what was missing; and the backend sees one plain spelling.
                assert_eq!((status, seen.len()), (200, 1), "{target}");
                let path = seen[0].split('?').next().unwrap();
                assert!(
                    ["/admin", "/admin/", "/admin/users"].contains(&path),
                    "{target}: {seen:?}"
                );
            }
            Refused => {
                assert_eq!(without, (400, Vec::new()), "{target}");
                assert_eq!(with, (400, Vec::new()), "{target}");
            }
            Public(path) => {
                assert_eq!(without, (200, vec![path.to_owned()]), "{target}");
                assert_eq!(with, without, "{target}");
            }
        }
    }
}

#[tokio::test]
async fn over_http_2_no_spelling_does_either() {
    let bank = Bank::start().await;
    let backend = Backend::start(|_| Response::new(Bytes::from("backend"))).await;
    let gateway = Tollgate::start(&config(&bank, &backend)).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut sent = 0;
    for (target, fate) in SPELLINGS {
        // A client library that resolves dots itself would send another path than it was given.
        let url = gateway.url(target);
        let Ok(parsed) = reqwest::Url::parse(&url) else { continue };
        if parsed.as_str() != url || target.contains('#') {
            continue;
        }
        sent += 1;
        let before = backend.seen().len();
        let status = client.get(parsed).send().await.unwrap().status().as_u16();
        let seen: Vec<String> =
            backend.seen().split_off(before).into_iter().map(|request| request.target).collect();
        let expected = match fate {
            Guarded => (401, Vec::new()),
            Refused => (400, Vec::new()),
            Public(path) => (200, vec![path.to_owned()]),
        };
        assert_eq!((status, seen), expected, "{target}");
    }
    assert!(sent >= 40, "only {sent} spellings came through the client library as they are");
}
