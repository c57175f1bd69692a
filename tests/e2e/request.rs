//! Requests that break HTTP, are too large, too many or too slow, and those that are just right.

mod body;
mod connection;
mod head;
mod json;
mod limits;
mod protocol;
mod smuggling;
mod tls;

use crate::support::Bank;
use crate::support::gateway::base_config;

/// Routes to one service, without a token: `/v1/` is counted by the bank, `/echo/` tells what
/// arrived.
const ROUTES: &str = r#"
routes:
  - { id: account, match: { path: "/v1/*" }, authenticate: none, cluster: checking }
  - { id: echo, match: { path: "/echo/*" }, authenticate: none, max_body: 1KiB, cluster: checking }
  - id: transfer
    match: { path: /transfers, methods: [POST] }
    authenticate: none
    account: body./debtor/account
    max_body: 16KiB
    cluster: checking
    rewrite: { path: /echo/transfers }
  - id: balance
    match: { path: "/balances/{account}" }
    authenticate: none
    account: path.account
    cluster: checking
    rewrite: { path: "/echo/{account}" }
"#;

fn config(bank: &Bank) -> String {
    base_config(bank) + ROUTES
}

/// The same with more ports, as items of `listen`.
fn config_with_ports(bank: &Bank, ports: &str) -> String {
    const FIRST: &str = "  - address: ADDRESS:8080\n";
    let base = base_config(bank);
    assert!(base.contains(FIRST));
    base.replace(FIRST, &format!("{FIRST}{ports}")) + ROUTES
}
