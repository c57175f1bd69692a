//! What of a path the access log shows.

use super::told;
use crate::support::gateway::base_config;
use crate::support::wire::{ask, logged};
use crate::support::{Bank, Tollgate};

const ROUTES: &str = r#"routes:
  - { id: plain, match: { path: "/plain/{id}/v2024" }, authenticate: none, answer: { body: plain } }
  - { id: support, match: { path: "/support/{*rest}" }, authenticate: none, answer: { body: support } }
  - { id: below, match: { path: "/below/*" }, authenticate: none, answer: { body: below } }
  - { id: named, match: { path: "/named/{account}/{other}" }, authenticate: none, account: path.account, answer: { body: named } }
  - { id: elsewhere, match: { path: "/elsewhere/{id}" }, authenticate: none, account: header.x-account, answer: { body: elsewhere } }
"#;

#[tokio::test]
async fn no_part_of_a_path_that_may_be_an_account_stands_in_the_access_log() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&(base_config(&bank) + ROUTES)).await;
    for (path, shown) in [
        // A route that knows of no account.
        ("/plain/4711/v2024", "/plain/{id}/v2024"),
        ("/plain/531/v2024", "/plain/{id}/v2024"),
        ("/plain/DE89370400440532013000/v2024", "/plain/{id}/v2024"),
        ("/plain/budget/v2024", "/plain/budget/v2024"),
        ("/support/tickets/4711/a1", "/support/tickets/{number}/a1"),
        ("/below/531", "/below/{number}"),
        ("/below", "/below"),
        // One that does.
        ("/named/jane/4712", "/named/{account}/{other}"),
        ("/elsewhere/jane-doe", "/elsewhere/{account}-doe"),
        // None at all.
        ("/nowhere/4711", "/nowhere/{number}"),
    ] {
        let answer = gateway.get_with(path, "", &[("x-account", "jane")]).await;
        let line = logged(&gateway, answer.header("x-request-id")).await;
        assert_eq!(line["url"]["path"], shown, "{path}");
    }
    // A path that has no single meaning, and a head that the port refuses.
    let ambiguous = ask(&gateway, "GET /plain/4711%2f HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    let malformed =
        ask(&gateway, "GET /plain/4711?a=4711 HTTP/1.1\r\nhost: b.example\r\nx y: z\r\n\r\n").await;
    for (answer, host, shown) in
        [(ambiguous, "a.example", "/plain/{number}"), (malformed, "b.example", "/plain/{number}")]
    {
        assert_eq!(answer.status, 400);
        let line = logged(&gateway, answer.header("x-request-id")).await;
        assert_eq!((&line["url"]["path"], &line["url"]["domain"]), (&shown.into(), &host.into()));
        assert_eq!(line["http"]["request"]["method"], "GET");
    }
    let log = told(&gateway);
    for number in ["4711", "4712", "531", "DE8937", "jane"] {
        assert!(!log.contains(number), "{number} stands in\n{log}");
    }
}
