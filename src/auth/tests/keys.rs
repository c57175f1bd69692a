use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::signer::{Signer, encode};
use crate::auth::flaw::Flaw;
use crate::auth::jwk::{Key, KeyFlaw};
use crate::auth::keyset::{KeySet, KeySetFlaw, read_keys};
use crate::auth::token::{Header, Token};

fn flaw(jwk: &Value) -> KeyFlaw {
    Key::read(jwk).expect_err(&format!("a key was accepted: {jwk}"))
}

fn signed_by(key: &Key, token: &str) -> bool {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let header = Token::parse(token).unwrap().header;
    let signature = crate::auth::token::decode(signature).unwrap();
    key.verifies(header.algorithm, signed.as_bytes(), &signature)
}

#[test]
fn every_kind_of_key_verifies_its_own_tokens_and_no_others() {
    let mut signers = vec![Signer::p256("a"), Signer::p384("b"), Signer::ed25519("c")];
    for algorithm in [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ] {
        signers.push(Signer::rsa("d", algorithm));
    }
    let tokens: Vec<String> = signers.iter().map(|one| one.token(&json!({}))).collect();
    for (place, signer) in signers.iter().enumerate() {
        let key = Key::read(&signer.jwk).unwrap();
        for (other, token) in tokens.iter().enumerate() {
            assert_eq!(signed_by(&key, token), place == other, "{place} {other}");
        }
    }
}

/// RFC 7515 appendices A.2 and A.3, RFC 8037 appendix A.4.
#[test]
fn the_examples_of_the_standards_verify() {
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "n":
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0\
         Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXnd\
         S5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5Ihl\
         JH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" });
    let rsa_token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6\
         Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJ\
         bu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB-\
         -f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwu\
         sC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmt\
         VrBp0igcN_IoypGlUPQGe77Rw";
    let ec = json!({ "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    let ec_token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly\
         9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5\
         djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(signed_by(&Key::read(&rsa).unwrap(), rsa_token));
    assert!(signed_by(&Key::read(&ec).unwrap(), ec_token));

    let ed = json!({ "kty": "OKP", "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = crate::auth::token::decode(
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    let key = Key::read(&ed).unwrap();
    assert!(key.verifies(Algorithm::EdDSA, signed, &signature.unwrap()));
}

#[test]
fn a_key_is_used_only_for_what_it_says_it_is_for() {
    let signer = Signer::p256("a");
    for (name, value) in [
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("key_ops", json!(["sign", "verify"])),
        ("alg", json!("ES256")),
        ("x5t", json!("ignored")),
    ] {
        assert!(Key::read(&signer.jwk_with(name, value.clone())).is_ok(), "{name} {value}");
    }
    for (name, value, expected) in [
        ("use", json!("enc"), KeyFlaw::Use),
        ("use", json!("SIG"), KeyFlaw::Use),
        ("use", json!(["sig"]), KeyFlaw::Use),
        ("key_ops", json!(["sign"]), KeyFlaw::Operations),
        ("key_ops", json!([]), KeyFlaw::Operations),
        ("key_ops", json!("verify"), KeyFlaw::Operations),
        ("alg", json!("ES384"), KeyFlaw::Algorithm),
        ("alg", json!("ECDH-ES"), KeyFlaw::Algorithm),
        ("alg", json!("none"), KeyFlaw::Algorithm),
        ("alg", json!("HS256"), KeyFlaw::Algorithm),
        ("alg", json!(256), KeyFlaw::Algorithm),
        ("kid", json!(""), KeyFlaw::Id),
        ("kid", json!(7), KeyFlaw::Id),
        ("kid", json!("k".repeat(257)), KeyFlaw::Id),
        ("d", json!("AQAB"), KeyFlaw::Private),
        ("kty", json!("RSA"), KeyFlaw::Encoding),
        ("kty", json!("ec"), KeyFlaw::Type),
        ("kty", json!("OKP"), KeyFlaw::Type),
        ("crv", json!("P-384"), KeyFlaw::Encoding),
        ("crv", json!("P-521"), KeyFlaw::Type),
        ("crv", json!("secp256k1"), KeyFlaw::Type),
        ("x", json!("AQAB"), KeyFlaw::Encoding),
        ("x", json!("!"), KeyFlaw::Encoding),
        ("y", Value::Null, KeyFlaw::Encoding),
        ("x", json!(encode([1; 32])), KeyFlaw::Invalid),
    ] {
        assert_eq!(flaw(&signer.jwk_with(name, value.clone())), expected, "{name} {value}");
    }
    let symmetric = json!({ "kty": "oct", "kid": "s", "k": encode([7; 32]) });
    assert_eq!(flaw(&symmetric), KeyFlaw::Symmetric);
    assert_eq!(flaw(&json!("key")), KeyFlaw::NotAnObject);
    assert_eq!(flaw(&json!({})), KeyFlaw::Type);
}

#[test]
fn weak_and_odd_rsa_keys_are_refused() {
    for bits in [1024, 2047] {
        let signer = Signer::rsa_of("a", Algorithm::PS256, bits);
        assert_eq!(flaw(&signer.jwk), KeyFlaw::RsaSize, "{bits}");
    }
    let signer = Signer::rsa("a", Algorithm::PS256);
    for (name, value, expected) in [
        ("n", encode([0xff; 1025]), KeyFlaw::RsaSize),
        ("n", String::new(), KeyFlaw::RsaSize),
        ("n", encode([0xfe; 256]), KeyFlaw::Invalid),
        ("e", encode([1]), KeyFlaw::Invalid),
        ("e", encode([0, 0, 1]), KeyFlaw::Invalid),
        ("e", encode([4]), KeyFlaw::Invalid),
        ("e", String::new(), KeyFlaw::Invalid),
        ("e", encode([1, 0, 0, 0, 1]), KeyFlaw::Invalid),
        ("e", "AQAB=".into(), KeyFlaw::Encoding),
    ] {
        assert_eq!(flaw(&signer.jwk_with(name, json!(value))), expected, "{name} {value}");
    }
}

#[test]
fn a_modulus_with_a_sign_byte_is_the_same_key() {
    let signer = Signer::rsa("a", Algorithm::PS256);
    let modulus = crate::auth::token::decode(signer.jwk["n"].as_str().unwrap()).unwrap();
    let padded = signer.jwk_with("n", json!(encode([&[0][..], &modulus].concat())));
    assert_eq!(Key::read(&padded).unwrap(), Key::read(&signer.jwk).unwrap());
}

#[test]
fn an_rsa_key_with_an_algorithm_serves_that_one_alone() {
    let signer = Signer::rsa("a", Algorithm::PS256);
    let key = Key::read(&signer.jwk_with("alg", json!("PS256"))).unwrap();
    assert_eq!(key.algorithms().collect::<Vec<_>>(), [Algorithm::PS256]);
    assert_eq!(Key::read(&signer.jwk).unwrap().algorithms().count(), 6);
}

fn read(keys: &[Value]) -> Result<Vec<Key>, KeySetFlaw> {
    read_keys(json!({ "keys": keys }).to_string().as_bytes())
}

#[test]
fn a_set_keeps_its_usable_keys_and_leaves_out_the_rest() {
    let good = Signer::p256("good");
    let encryption = Signer::p256("enc").jwk_with("use", json!("enc"));
    let keys = read(&[json!({ "kty": "future" }), encryption, good.jwk.clone()]).unwrap();
    assert_eq!(keys, [Key::read(&good.jwk).unwrap()]);
}

#[test]
fn of_two_keys_with_one_id_the_first_usable_one_counts() {
    let (first, second) = (Signer::p256("same"), Signer::p256("same"));
    let unusable = first.jwk_with("use", json!("enc"));
    let keys = read(&[unusable, second.jwk.clone(), first.jwk.clone()]).unwrap();
    assert_eq!(keys, [Key::read(&second.jwk).unwrap()]);
}

#[test]
fn what_is_no_key_set_says_why() {
    let jwk = Signer::p256("a").jwk;
    assert_eq!(read(&[]), Err(KeySetFlaw::NoneUsable(0)));
    assert_eq!(read(&[json!({ "kty": "oct", "k": "AA" })]), Err(KeySetFlaw::NoneUsable(1)));
    assert_eq!(read(&vec![jwk.clone(); 101]), Err(KeySetFlaw::TooMany));
    for text in ["", "<html>", "[]", "{\"keys\":[],\"keys\":[]}", &"[".repeat(100_000)] {
        assert_eq!(read_keys(text.as_bytes()), Err(KeySetFlaw::NotJson), "{text:.40}");
    }
    for text in ["{}", "{\"keys\":{}}", "{\"keys\":null}", "{\"Keys\":[]}"] {
        assert_eq!(read_keys(text.as_bytes()), Err(KeySetFlaw::NoKeys), "{text}");
    }
}

#[test]
fn a_token_without_a_key_id_needs_exactly_one_key_that_fits() {
    let (a, b, c) = (Signer::p256("a"), Signer::p256("b"), Signer::ed25519("c"));
    let header = |algorithm, id: Option<&str>| Header {
        algorithm,
        key_id: id.map(str::to_owned),
        kind: None,
    };
    let set = KeySet::new(read(&[a.jwk, b.jwk, c.jwk]).unwrap(), 1);
    let chosen =
        |header: Header| set.choose(&header).map(|key| key.id.clone().unwrap().to_string());
    assert_eq!(chosen(header(Algorithm::EdDSA, None)), Ok("c".into()));
    assert_eq!(chosen(header(Algorithm::ES256, None)), Err(Flaw::NoSingleKey));
    assert_eq!(chosen(header(Algorithm::ES384, None)), Err(Flaw::UnknownKey));
    assert_eq!(chosen(header(Algorithm::ES256, Some("b"))), Ok("b".into()));
    assert_eq!(chosen(header(Algorithm::EdDSA, Some("b"))), Err(Flaw::KeyMisfit));
    assert_eq!(chosen(header(Algorithm::ES256, Some("B"))), Err(Flaw::UnknownKey));
}
