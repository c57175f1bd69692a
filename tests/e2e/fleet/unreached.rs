//! An owner that can't be had: the rule decides, as far as that does no harm.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use http::Method;
use openssl::ssl::{AlpnError, SslStream, select_next_proto};

use super::away::{SOON, get};
use crate::broker::Broker;
use crate::support::fleet::Fleet;
use crate::support::tls::Signed;
use crate::support::wire::metric;
use crate::support::{Bank, own_address};

const ROUTES: &str = r#"
quotas:
  deny: { per: [account], limit: 50, window: 24h, unavailable: deny }
  allow: { per: [account], limit: 50, window: 24h, unavailable: allow }
  local: { per: [account], limit: 3, window: 24h, unavailable: local }
routes:
  - { id: deny, match: { path: "/deny/{account}" }, authenticate: bank, account: path.account, quotas: [deny], cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: allow, match: { path: "/allow/{account}" }, authenticate: bank, account: path.account, quotas: [allow], cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: local, match: { path: "/local/{account}" }, authenticate: bank, account: path.account, quotas: [local], cluster: checking, rewrite: { path: /echo/fleet } }
"#;

/// Types of HTTP/2 frames, and what else stands in them (RFC 9113 section 6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const CONNECTION: [u8; 4] = [0; 4];
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];

/// A gateway's port that takes every request and breaks it off. It ends with the test's process.
fn break_off(at: SocketAddr, signed: &Signed) {
    let mut acceptor = signed.acceptor();
    acceptor.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x02h2", offered).ok_or(AlpnError::NOACK)
    });
    let acceptor = acceptor.build();
    let listener = TcpListener::bind(at).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, acceptor) = (stream.unwrap(), acceptor.clone());
            std::thread::spawn(move || {
                if let Ok(stream) = acceptor.accept(stream) {
                    // An error is the connection's end.
                    let _ = reset_requests(stream);
                }
            });
        }
    });
}

fn reset_requests(mut stream: SslStream<TcpStream>) -> std::io::Result<()> {
    stream.write_all(&frame(SETTINGS, 0, CONNECTION, &[]))?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface)?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [high, middle, low, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        stream.read_exact(&mut payload)?;
        let answer = match kind {
            HEADERS => frame(RST_STREAM, 0, id, &INTERNAL_ERROR),
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, CONNECTION, &[]),
            PING if flags & ACK == 0 => frame(PING, ACK, CONNECTION, &payload),
            _ => continue,
        };
        stream.write_all(&answer)?;
    }
}

fn frame(kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
    let [a, b, c, d] = stream;
    [&[high, middle, low, kind, flags, a, b, c, d], payload].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_owner_gives_no_answer_the_rule_decides_unless_it_may_have_done_what_was_asked() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::empty(Broker::shared(), &bank, ROUTES).await;
    let deaf = SocketAddr::from((own_address(), 7443));
    let host = deaf.ip().to_string();
    break_off(deaf, &fleet.authority.sign("deaf", &[&host]));
    fleet.join();
    // It lives and owns accounts, and where it says to be reached there is the other port.
    fleet.join_as(&host);
    let (asked, deaf) = (Fleet::name(&fleet.gateways[0]), deaf.to_string());
    fleet.until_shared_out_among(&[asked, deaf.clone()]).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_owned_by(&deaf, 0).await;
    let path = |rule: &str| format!("/{rule}/{account}");
    let gateway = &fleet.gateways[0];

    let served = get(gateway, &path("allow"), &token, SOON).await;
    assert_eq!(served.status, 200, "{served:?}");
    assert_eq!(served.header("x-quota-unaccounted"), "true");
    let refused = get(gateway, &path("deny"), &token, SOON).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "quota-unavailable"));
    for _ in 0..3 {
        assert_eq!(get(gateway, &path("local"), &token, SOON).await.status, 200);
    }
    let refused = get(gateway, &path("local"), &token, SOON).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "quota-exceeded"));
    let decided = "tollgate_forwarded_total{outcome=\"without_owner\"}";
    assert_eq!(metric(gateway, decided).await, 6);

    // Nobody knows whether it was done, and it may not be done twice.
    let calls = bank.calls().await;
    let sent = gateway.send(Method::POST, &path("allow"), &token, &[], Vec::new()).await;
    assert_eq!((sent.status.as_u16(), sent.problem().as_str()), (502, "backend-failed"));
    assert_eq!(bank.calls().await, calls);
}
