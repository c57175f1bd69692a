//! The fleet's certificates are replaced while gateways pass requests to each other, or expire.

use std::fs;
use std::path::PathBuf;
use std::slice::from_ref;

use crate::broker::Broker;
use crate::support::fleet::{Fleet, one_rule};
use crate::support::tls::{Authority, Hello, Signed, shake};
use crate::support::wire::{metric, metric_becomes};
use crate::support::{Bank, Tollgate, eventually};

const ANSWERED: &str = r#"tollgate_forwarded_total{outcome="answered"}"#;
const UNREACHABLE: &str = r#"tollgate_claims_total{reason="owner_unreachable"}"#;
const ENDS: &str = r#"tollgate_certificate_not_after_timestamp_seconds{use="fleet"}"#;

/// Asks each of two gateways for an account of the other, which must answer.
async fn pass_on(fleet: &Fleet, accounts: &[String; 2], token: &str) {
    for (asked, account) in fleet.gateways.iter().zip(accounts.iter().rev()) {
        let before = metric(asked, ANSWERED).await;
        let answer = asked.get(&format!("/roomy/{account}"), token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        metric_becomes(asked, ANSWERED, before + 1).await;
    }
}

/// How often a gateway has taken changed files into use for what it asks others.
fn taken(gateway: &Tollgate) -> usize {
    gateway.log().matches("the fleet's changed certificates are in use").count()
}

/// Puts texts in files' places, as deployments do, and waits until gateways use them for what they
/// ask others.
async fn change(gateways: &[Tollgate], files: &[(PathBuf, String)]) {
    let before: Vec<usize> = gateways.iter().map(taken).collect();
    for (file, text) in files {
        let beside = file.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, file).unwrap();
    }
    for (gateway, before) in gateways.iter().zip(before) {
        eventually("the changed files to be in use", async || {
            if taken(gateway) > before { Ok(()) } else { Err(gateway.log()) }
        })
        .await;
    }
}

/// Waits until a gateway's port lets a certificate in, or doesn't.
async fn lets_in(gateway: &Tollgate, trusted: &[&Authority], member: &Signed, wanted: bool) {
    let identity =
        reqwest::Identity::from_pkcs8_pem(member.certificate.as_bytes(), member.key.as_bytes());
    let identity = identity.unwrap();
    eventually(&format!("the port to let it in: {wanted}"), async || {
        // One connection for each look.
        let mut builder = reqwest::Client::builder().identity(identity.clone());
        for authority in trusted {
            let authority = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
            builder = builder.add_root_certificate(authority);
        }
        let url = format!("https://{}/", Fleet::name(gateway));
        let answer = builder.build().unwrap().get(url).send().await;
        if answer.is_ok() == wanted { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

/// Waits until a gateway's port shows a certificate.
async fn shows(gateway: &Tollgate, signed: &Signed) {
    eventually("the port to show the new certificate", async || {
        let hello = Hello { alpn: b"\x02h2", ..Hello::default() };
        match shake((gateway.address(), 7443).into(), hello).await {
            Ok(shaken) if shaken.der == signed.der => Ok(()),
            other => Err(other.map(|shaken| shaken.alpn)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_change_to_another_authority_in_turn_and_requests_are_passed_on_throughout() {
    let bank = Bank::start().await;
    let fleet = Fleet::start(Broker::shared(), &bank, 2, &one_rule("roomy", 1_000_000)).await;
    let token = bank.token("budget-app").await;
    let accounts = [fleet.account_of(0).await, fleet.account_of(1).await];
    let owners = fleet.owners().await;
    let next = Authority::new("the next one");
    let trusted = [&fleet.authority, &next];
    let old_member = fleet.authority.sign("member", &["member"]);
    let new_member = next.sign("member", &["member"]);
    pass_on(&fleet, &accounts, &token).await;

    let both = fleet.authority.pem() + &next.pem();
    change(&fleet.gateways, &[(fleet.authority.file(), both)]).await;
    for gateway in &fleet.gateways {
        lets_in(gateway, &trusted, &new_member, true).await;
        lets_in(gateway, &trusted, &old_member, true).await;
    }
    pass_on(&fleet, &accounts, &token).await;

    for (number, gateway) in fleet.gateways.iter().enumerate() {
        let signed = next.sign("renewed", &[&gateway.address().to_string()]);
        let at =
            |what: &str| fleet.authority.file().with_file_name(format!("gateway-{number}.{what}"));
        let files = [(at("crt"), signed.certificate.clone()), (at("key"), signed.key.clone())];
        change(from_ref(gateway), &files).await;
        shows(gateway, &signed).await;
        pass_on(&fleet, &accounts, &token).await;
    }

    change(&fleet.gateways, &[(fleet.authority.file(), next.pem())]).await;
    for gateway in &fleet.gateways {
        lets_in(gateway, &trusted, &old_member, false).await;
        lets_in(gateway, &trusted, &new_member, true).await;
    }
    pass_on(&fleet, &accounts, &token).await;
    assert_eq!(fleet.owners().await, owners, "nobody took anything");
    for gateway in &fleet.gateways {
        assert_eq!(metric(gateway, UNREACHABLE).await, 0);
    }
}

/// Waits until a line of a gateway's log has all of these, while something is done again and again.
async fn until_logged(gateway: &Tollgate, words: &[&str], mut meanwhile: impl AsyncFnMut()) {
    eventually(&format!("a line with {words:?}"), async || {
        meanwhile().await;
        let log = gateway.log();
        let told = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        if told { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_certificate_has_expired_logs_say_so_and_others_serve_its_accounts() {
    /// 2001.
    const LONG_AGO: u64 = 1_000_000_000;
    let bank = Bank::start().await;
    let fleet = Fleet::start(Broker::shared(), &bank, 2, &one_rule("roomy", 1_000_000)).await;
    let token = bank.token("budget-app").await;
    let [first, second] = [fleet.account_of(0).await, fleet.account_of(1).await];
    let (asking, over) = (&fleet.gateways[0], &fleet.gateways[1]);
    assert!(metric(over, ENDS).await > 2 * LONG_AGO);

    let before = taken(over);
    let address = over.address().to_string();
    let signed = fleet.authority.sign_until("gateway-1", &[&address], LONG_AGO);
    shows(over, &signed).await;
    metric_becomes(over, ENDS, LONG_AGO).await;
    let said = ["\"ERROR\"", "a certificate in use expired", "\"certificate\":\"fleet\""];
    until_logged(over, &said, async || ()).await;

    eventually("its account to be served all the same", async || {
        let answer = asking.get(&format!("/roomy/{second}"), &token).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    let name = Fleet::name(over);
    let said =
        ["\"WARN\"", &*name, "its certificate is not accepted here: certificate has expired"];
    until_logged(asking, &said, async || ()).await;

    eventually("it to use the expired certificate where it asks", async || {
        if taken(over) > before { Ok(()) } else { Err(over.log()) }
    })
    .await;
    let name = Fleet::name(asking);
    let said = ["\"WARN\"", &*name, "it does not accept this gateway's certificate"];
    let path = format!("/roomy/{first}");
    until_logged(over, &said, async || {
        over.get(&path, &token).await;
    })
    .await;
}
