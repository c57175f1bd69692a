use std::collections::BTreeSet;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};

use super::*;
use crate::config::restart_needed;

const HOST: &str = "gateway-1.bank.internal";

/// The configuration of a fleet that uses every key, in a folder with the files it names.
pub(super) fn fleet() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let authority = authority("fleet");
    folder.write("ca.pem", authority.pem());
    sign(&folder, "gateway", &[HOST], &authority, |_| ());
    folder.write("account.key", "0123456789abcdef0123456789abcdef\n");
    folder.write("kafka.password", "0123456789abcdef-of-kafka\n");
    let text = fs::read("tests/golden/config-full/fleet.yaml").unwrap();
    let main = folder.write("fleet.yaml", text);
    (folder, main)
}

fn sign(
    folder: &Folder,
    file: &str,
    names: &[&str],
    issuer: &rcgen::Issuer<'_, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    change(&mut parameters);
    let key = KeyPair::generate().unwrap();
    folder.write(&format!("{file}.pem"), parameters.signed_by(&key, issuer).unwrap().pem());
    folder.write(&format!("{file}.key"), key.serialize_pem());
}

/// What is said of the full configuration with one thing changed.
fn said(folder: &Folder, main: &Path, from: &str, to: &str) -> String {
    let text = fs::read_to_string(main).unwrap();
    assert!(text.contains(from), "{from}");
    let path = folder.write("changed.yaml", text.replacen(from, to, 1));
    load(&path).err().map_or_else(String::new, |problems| problems.to_string())
}

#[test]
fn a_certificate_that_the_other_gateways_would_refuse_is_refused_here() {
    let (folder, main) = fleet();
    let (one, other) = (authority("one"), authority("other"));
    folder.write("one.pem", one.pem());
    sign(&folder, "right", &[HOST], &one, |_| ());
    sign(&folder, "by-address", &["10.0.0.7", "fd00::7"], &one, |_| ());
    sign(&folder, "other-host", &["gateway-2.bank.internal"], &one, |_| ());
    sign(&folder, "stranger", &[HOST], &other, |_| ());
    sign(&folder, "over", &[HOST], &one, |p| p.not_after = rcgen::date_time_ymd(2020, 1, 1));
    sign(&folder, "server-only", &[HOST], &one, |p| {
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let with = |pair: &str, advertise: &str| {
        let from = "advertise: gateway-1.bank.internal:8444\n  authorities: ca.pem\n  certificate: \
                    gateway.pem\n  key: gateway.key";
        let to = format!(
            "advertise: \"{advertise}\"\n  authorities: one.pem\n  certificate: {pair}.pem\n  \
             key: {pair}.key"
        );
        said(&folder, &main, from, &to)
    };
    let here = format!("{HOST}:8444");
    for (pair, advertise) in [
        ("right", here.as_str()),
        ("by-address", "10.0.0.7:8444"),
        ("by-address", "[fd00::7]:8444"),
        // Seen when it is used: until then the gateway serves what it owns.
        ("over", &here),
    ] {
        assert_eq!(with(pair, advertise), "", "{pair} {advertise}");
    }
    for (pair, advertise, message) in [
        ("other-host", here.as_str(), "is not for the host `gateway-1.bank.internal`"),
        ("by-address", "10.0.0.8:8444", "is not for the host `10.0.0.8`"),
        ("stranger", &here, "other gateways would not trust `stranger.pem` by `one.pem`"),
        ("server-only", &here, "for servers and for clients"),
    ] {
        let text = with(pair, advertise);
        assert!(text.contains(message) && text.ends_with("1 problem\n"), "{text}");
    }
}

#[test]
fn certificates_of_a_fleet_and_of_kafka_belong_to_their_keys_and_are_watched() {
    let (folder, main) = fleet();
    for (from, to, message) in [
        ("key: gateway.key}", "key: account.key}", "`account.key` holds no PEM private key"),
        ("  key: gateway.key\n", "  key: gateway.pem\n", "are certificate and key swapped?"),
        (", key: gateway.key}", "}", "`certificate` needs `key`"),
        ("authorities: ca.pem,", "authorities: none.pem,", "`none.pem` can't be read"),
        ("authorities: ca.pem\n", "authorities: gateway.key\n", "holds no PEM certificate"),
    ] {
        let text = said(&folder, &main, from, to);
        assert!(text.contains(message), "{text}");
    }
    let files: BTreeSet<String> = load(&main)
        .unwrap()
        .files
        .iter()
        .map(|path| path.strip_prefix(folder.0.path()).unwrap().display().to_string())
        .collect();
    let expected =
        ["account.key", "ca.pem", "fleet.yaml", "gateway.key", "gateway.pem", "kafka.password"];
    assert_eq!(files, expected.map(String::from).into_iter().collect());
}

#[test]
fn defaults_of_kafka_are_those_of_a_cluster_of_three() {
    let (folder, main) = fleet();
    let text = fs::read_to_string(&main).unwrap();
    let start = text.find("  topic_prefix").unwrap();
    let end = text.find("fleet:").unwrap();
    let least = format!("{}{}", &text[..start], &text[end..]);
    let config = load(&folder.write("least.yaml", least)).unwrap();
    let kafka = config.kafka.unwrap();
    assert_eq!((&*kafka.topic_prefix, kafka.partitions, kafka.replication), ("tollgate", 48, 3));
    assert_eq!((kafka.tls.clone(), kafka.sasl.clone()), (None, None));
    let seconds = |duration: std::time::Duration| duration.as_secs();
    assert_eq!(seconds(kafka.delivery_timeout), 5);
    assert_eq!(seconds(kafka.session_timeout), 6);
    assert_eq!(seconds(kafka.cache_retention), 7 * 86_400);
}

#[test]
fn a_record_is_not_longer_on_its_way_than_a_gateway_may_be_silent() {
    let (folder, main) = fleet();
    assert_eq!(said(&folder, &main, "delivery_timeout: 4s", "delivery_timeout: 8900ms"), "");
    // The configuration has a session of 9 s.
    let text = said(&folder, &main, "delivery_timeout: 4s", "delivery_timeout: 9s");
    for part in ["`delivery_timeout`, 9s", "`session_timeout`, 9s", "help: make `delivery_timeout`"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.ends_with("1 problem\n"), "{text}");
    // One that is wrong by itself is complained of once.
    let text = said(&folder, &main, "delivery_timeout: 4s", "delivery_timeout: 11s");
    assert!(text.contains("the most is 10s") && text.ends_with("1 problem\n"), "{text}");
}

#[test]
fn what_of_a_fleet_needs_a_restart_is_said_and_its_certificates_do_not() {
    let (folder, main) = fleet();
    let other = authority("other");
    folder.write("other.pem", other.pem());
    sign(&folder, "other-gateway", &[HOST, "gateway-9.bank.internal"], &other, |_| ());
    let old = load(&main).unwrap();
    let text = fs::read_to_string(&main).unwrap();
    let after = |changes: &[(&str, &str)]| {
        let text = changes.iter().fold(text.clone(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        let new = load(&folder.write("changed.yaml", text));
        restart_needed(&old, &new.unwrap_or_else(|problems| panic!("{problems}"))).join("; ")
    };
    let certificates = [
        ("authorities: ca.pem\n", "authorities: other.pem\n"),
        ("certificate: gateway.pem\n", "certificate: other-gateway.pem\n"),
        ("key: gateway.key\n", "key: other-gateway.key\n"),
    ];
    assert_eq!(after(&certificates), "");
    let renamed =
        [certificates[0], certificates[1], certificates[2], (HOST, "gateway-9.bank.internal")];
    assert!(after(&renamed).contains("fleet.advertise"));
    assert!(after(&[("0.0.0.0:8444", "0.0.0.0:8445")]).contains("fleet.listen"));
    for change in [
        ("partitions: 24", "partitions: 25"),
        ("\"[fd00::2]:9093\"", "\"[fd00::3]:9093\""),
        ("username: gateway", "username: other"),
        ("session_timeout: 9s", "session_timeout: 8s"),
    ] {
        assert!(after(&[change]).contains("kafka changed"), "{change:?}");
    }
}

#[test]
fn the_password_of_kafka_is_shown_nowhere() {
    let (folder, main) = fleet();
    let config = load(&main).unwrap();
    assert_eq!(config.shown["kafka"]["sasl"]["password"], "${file:kafka.password}");
    let sasl = config.kafka.as_ref().unwrap().sasl.as_ref().unwrap();
    assert_eq!(sasl.password.reveal(), "0123456789abcdef-of-kafka");
    let wrong = "username: 5, password: hunter2-in-clear";
    let text =
        said(&folder, &main, "username: gateway, password: \"${file:kafka.password}\"", wrong);
    assert!(text.contains("expected a text") && !text.contains("hunter2"), "{text}");
}
