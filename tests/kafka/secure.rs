//! A broker that takes only TLS with a certificate and a login by SCRAM-SHA-512, and allows
//! nothing without an ACL.

use std::fs;
use std::time::{Duration, Instant};

use tollgate::config;
use tollgate::journal::topics::{self, TopicsError};

use crate::broker::Broker;
use crate::site::Site;
use crate::topics::{BOUNDED, findings, mend, set, succeeded};

const PASSWORD: &str = "gateway-secret-1";

/// `kafka` of a gateway that does all that the broker wants.
fn kafka(broker: &Broker) -> String {
    let tls = broker.folder().join("tls").display().to_string();
    format!(
        "brokers: ['{}'], topic_prefix: bank.toll, partitions: 3, replication: 1, \
         tls: {{authorities: {tls}/ca.pem, certificate: {tls}/client.pem, key: {tls}/client.key}}, \
         sasl: {{username: gateway, password: {PASSWORD}}}",
        broker.bootstrap()
    )
}

/// How an administrator's tools log in.
fn admin_properties(broker: &Broker) -> String {
    let tls = broker.folder().join("tls");
    let read = |name: &str| fs::read_to_string(tls.join(name)).unwrap();
    fs::write(tls.join("admin.pem"), read("client.key") + &read("client.pem")).unwrap();
    let tls = tls.display();
    format!(
        "security.protocol=SASL_SSL\n\
         sasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
         username=\"admin\" password=\"admin-secret\";\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={tls}/ca.pem\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={tls}/admin.pem\n"
    )
}

/// One broker for all of it: a start takes seconds.
#[test]
fn a_broker_that_trusts_nobody_is_reached_in_the_right_way_only() {
    let login = format!("gateway:{PASSWORD}");
    let broker = Broker::own(&[
        "--tls",
        "--client-certificates",
        "--sasl",
        &login,
        "--sasl",
        "admin:admin-secret",
        "--acls",
    ]);
    let site = Site::new();
    site.write("admin.properties", &admin_properties(&broker));
    every_missing_acl_is_named(&broker, &site);
    whoever_comes_in_another_way_is_told_so_in_bounded_time(&broker, &site);
}

fn every_missing_acl_is_named(broker: &Broker, site: &Site) {
    site.configure(&kafka(broker), "24h");
    // Nothing is allowed: not even whether there are topics can be seen.
    let done = site.kafka("check", &["--json"]);
    assert_eq!(done.status, 1, "{done:?}");
    let expected = set([
        "unsafe quotas the topic",
        "unsafe quotas DescribeConfigs",
        "difference quotas Write",
        "unsafe account-cache the topic",
        "difference account-cache DescribeConfigs",
        "difference account-cache Write",
        "unsafe account-changes the topic",
        "difference account-changes DescribeConfigs",
        "difference group gateways Read",
    ]);
    assert_eq!(findings(&done.json(), "bank.toll"), expected);
    mend(&done.json(), site);
    // The gateway may now use its topics, but there are none, and it may not make any.
    let made = site.kafka("init", &["--json"]);
    assert_eq!(made.status, 1);
    let reason = made.json()["topics"][0]["made"]["failed"].as_str().unwrap().to_owned();
    assert!(reason.contains("this user may not create topics"), "{reason}");
    mend(&made.json(), site);
    let checked = site.kafka("check", &["--json"]);
    succeeded(&checked);
    let one_copy = set(["warning quotas the number of copies"]);
    assert_eq!(findings(&checked.json(), "bank.toll"), one_copy);
    // One that is taken away is missed alone.
    for (operation, resource, finding) in [
        ("Write", "--topic bank.toll.quotas", "difference quotas Write"),
        ("Read", "--topic bank.toll.account-changes", "unsafe account-changes the topic"),
        ("Read", "--group bank.toll.gateways", "difference group gateways Read"),
    ] {
        Broker::tool_works(
            &format!(
                "kafka-acls.sh --bootstrap-server {} --command-config admin.properties --remove \
                 --force --allow-principal User:gateway --operation {operation} {resource}",
                broker.bootstrap()
            ),
            site.folder(),
        );
        let done = site.kafka("check", &["--json"]);
        let mut expected = one_copy.clone();
        expected.insert(finding.to_owned());
        assert_eq!(findings(&done.json(), "bank.toll"), expected);
        mend(&done.json(), site);
    }
    succeeded(&site.kafka("check", &[]));
}

fn whoever_comes_in_another_way_is_told_so_in_bounded_time(broker: &Broker, site: &Site) {
    let right = kafka(broker);
    for (from, to, status, said) in [
        (PASSWORD, "wrong", 1, "refuses the login: "),
        (", tls:", "} #", 3, "`kafka.tls` and `kafka.sasl` are what they"),
    ] {
        site.configure(&right.replacen(from, to, 1), "24h");
        let started = Instant::now();
        let done = site.kafka("check", &[]);
        assert!(started.elapsed() < BOUNDED, "{to}");
        assert_eq!(done.status, status, "{to}: {done:?}");
        assert!(done.err.contains(said), "{to}: {}", done.err);
        assert!(!done.err.contains(PASSWORD) && done.out.is_empty(), "{done:?}");
    }
    let (before, behind) = right.split_once(", tls: ").unwrap();
    let (tls, sasl) = behind.split_once(", sasl: ").unwrap();
    let (authorities, certificate) = tls.split_once(", ").unwrap();
    for (kafka, said) in [
        (format!("{before}, sasl: {sasl}"), "connection closed by peer"),
        (format!("{before}, tls: {tls}"), "no Kafka broker of"),
        (format!("{before}, tls: {authorities}}}, sasl: {sasl}"), "bad certificate"),
        (
            format!("{before}, tls: {{authorities: fleet-ca.pem, {certificate}, sasl: {sasl}"),
            "certificate verify failed",
        ),
    ] {
        let config = config::load(&site.configure(&kafka, "24h")).unwrap();
        let error = topics::refuse_unsafe(&config, Duration::from_secs(2)).unwrap_err();
        assert!(matches!(error, TopicsError::Unreachable { .. }), "{kafka}: {error}");
        assert!(error.to_string().contains(said), "{kafka}: {error}");
    }
}
