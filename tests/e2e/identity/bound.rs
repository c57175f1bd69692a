//! Tokens that only the holder of a certificate may use (RFC 8705).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::support::tls::{Authority, Hello, Signed, shake};
use crate::support::{Bank, Tollgate};

#[tokio::test]
async fn a_token_bound_to_a_certificate_is_good_only_with_it() {
    let (bank, authority) = (Bank::start().await, Authority::new("third parties"));
    let server = authority.sign("server", &["api.bank.example"]);
    let (own, other) = (authority.sign("own", &["own"]), authority.sign("other", &["other"]));
    let port = format!(
        "  - address: ADDRESS:8443\n    tls: {{ certificates: [{}], client_certificates: {{ authorities: {}, required: false }} }}\n",
        server.entry(),
        authority.file().display()
    );
    let first = "  - address: ADDRESS:8080\n";
    let config = super::config(&bank, "").replace(first, &format!("{first}{port}"));
    let gateway = Tollgate::start(&config).await;

    let thumbprint = URL_SAFE_NO_PAD.encode(openssl::sha::sha256(&own.der));
    let bound = bank.mint(json!({ "claims": { "cnf": { "x5t#S256": thumbprint } } })).await;
    let free = bank.mint(json!({})).await;
    let status = async |token: &str, certificate: Option<&Signed>| {
        let request = format!(
            "GET /who HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        let hello = Hello { certificate: certificate.cloned(), request, ..Hello::default() };
        let shaken = shake((gateway.address(), 8443).into(), hello).await.unwrap();
        shaken.answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    // Twice each, since what was verified is remembered.
    for _ in 0..2 {
        assert_eq!(status(&bound, Some(&own)).await, 200);
        assert_eq!(status(&bound, Some(&other)).await, 401);
        assert_eq!(status(&bound, None).await, 401);
        assert_eq!(status(&free, None).await, 200);
        assert_eq!(status(&free, Some(&other)).await, 200);
        assert_eq!(gateway.get("/who", &bound).await.status, 401, "without TLS");
    }
}
