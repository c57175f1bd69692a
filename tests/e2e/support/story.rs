//! The demo's route.

/// One answer over five services, four unattended reads a day, kept for an hour: to be added to a
/// configuration. Each service has until `deadline` to answer.
pub fn summary(deadline: &str) -> String {
    let part = |service: &str| {
        format!(
            "        {service}: {{ cluster: {service}, path: \"/v1/{{account}}\", \
             into: accounts.{service}, deadline: {deadline} }}\n"
        )
    };
    let parts = ["checking", "savings", "cards", "loans", "investments"].map(part);
    format!("{SUMMARY}{}", parts.concat())
}

const SUMMARY: &str = r#"
quotas:
  unattended:
    per: [account, client]
    limit: 4
    window: 24h
    rolling: true
    when: "!('x-fapi-customer-ip-address' in request.headers) || !isIP(request.headers['x-fapi-customer-ip-address'])"
    accuracy: strict
    unavailable: deny
routes:
  - id: summary
    match: { path: "/accounts/{account}/summary", methods: [GET] }
    authenticate: bank
    scopes: [accounts:read]
    account: path.account
    quotas: [unattended]
    cache: { fresh: 1h, visible_to: client }
    compose:
      parts:
"#;
