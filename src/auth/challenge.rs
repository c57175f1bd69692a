use http::HeaderValue;

use crate::request::{Challenge, Refusal};

/// What a challenge says of the gateway itself.
#[derive(Clone, Copy, Debug)]
pub struct Realm<'a> {
    /// The name of the protected space (RFC 9110 section 11.5).
    pub name: &'a str,
    /// URL of the protected resource's metadata (RFC 9728 section 5.1), where there is one.
    pub metadata: Option<&'a str>,
}

/// The WWW-Authenticate field of a refusal that is about the credential (RFC 6750 section 3);
/// `None` for every other refusal.
pub fn challenge_header(refusal: &Refusal, realm: Realm<'_>) -> Option<HeaderValue> {
    let mut text = format!("Bearer realm=\"{}\"", quoted(realm.name));
    if let Some(url) = realm.metadata {
        add(&mut text, "resource_metadata", url);
    }
    match refusal {
        Refusal::Unauthenticated(Challenge::Missing) => {}
        Refusal::Unauthenticated(Challenge::Malformed(why)) => {
            add(&mut text, "error", "invalid_request");
            add(&mut text, "error_description", why);
        }
        Refusal::Unauthenticated(Challenge::Invalid(why)) => {
            add(&mut text, "error", "invalid_token");
            add(&mut text, "error_description", why);
        }
        Refusal::MissingScope { required, one_is_enough } => {
            add(&mut text, "error", "insufficient_scope");
            match one_is_enough {
                // The attribute `scope` would ask for all of them.
                true => {
                    let any = format!("one of the scopes: {}", required.replace(' ', ", "));
                    add(&mut text, "error_description", &any);
                }
                false => add(&mut text, "scope", required),
            }
        }
        _ => return None,
    }
    HeaderValue::from_str(&text).ok()
}

fn add(text: &mut String, name: &str, value: &str) {
    text.push_str(", ");
    text.push_str(name);
    text.push_str("=\"");
    text.push_str(&quoted(value));
    text.push('"');
}

/// A text that may stand in a quoted-string: RFC 6750 allows printable ASCII without `"` and `\`
/// in its attributes, so those and all else are replaced rather than escaped.
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => c,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BANK: Realm<'static> = Realm { name: "bank", metadata: None };

    fn header(refusal: &Refusal, realm: Realm<'_>) -> String {
        challenge_header(refusal, realm).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn no_credential_gets_a_bare_challenge() {
        let refusal = Refusal::Unauthenticated(Challenge::Missing);
        assert_eq!(header(&refusal, BANK), r#"Bearer realm="bank""#);
    }

    #[test]
    fn a_bad_credential_gets_its_error_and_why() {
        assert_eq!(
            header(&Refusal::Unauthenticated(Challenge::Invalid("the token has expired")), BANK),
            "Bearer realm=\"bank\", error=\"invalid_token\", \
             error_description=\"the token has expired\""
        );
        assert_eq!(
            header(&Refusal::Unauthenticated(Challenge::Malformed("two fields")), BANK),
            "Bearer realm=\"bank\", error=\"invalid_request\", error_description=\"two fields\""
        );
    }

    #[test]
    fn a_missing_scope_is_named() {
        let refusal = Refusal::MissingScope {
            required: "accounts:read payments".into(),
            one_is_enough: false,
        };
        assert_eq!(
            header(&refusal, BANK),
            "Bearer realm=\"bank\", error=\"insufficient_scope\", scope=\"accounts:read payments\""
        );
    }

    #[test]
    fn of_scopes_of_which_one_is_enough_not_all_are_asked_for() {
        let refusal = Refusal::MissingScope { required: "a b".into(), one_is_enough: true };
        assert_eq!(
            header(&refusal, BANK),
            "Bearer realm=\"bank\", error=\"insufficient_scope\", \
             error_description=\"one of the scopes: a, b\""
        );
    }

    #[test]
    fn the_resources_metadata_is_named_where_there_is_some() {
        let realm =
            Realm { name: "bank", metadata: Some("https://api.bank.example/.well-known/x") };
        assert_eq!(
            header(&Refusal::Unauthenticated(Challenge::Missing), realm),
            "Bearer realm=\"bank\", resource_metadata=\"https://api.bank.example/.well-known/x\""
        );
    }

    #[test]
    fn other_refusals_carry_no_challenge() {
        for refusal in [Refusal::NoRoute, Refusal::IdentityUnavailable, Refusal::Internal] {
            assert_eq!(challenge_header(&refusal, BANK), None);
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_quotes(name in any::<String>(), scopes in any::<String>()) {
            let refusal = Refusal::MissingScope { required: scopes.into(), one_is_enough: false };
            let text = header(&refusal, Realm { name: &name, metadata: None });
            prop_assert_eq!(text.matches('"').count(), 6);
            prop_assert!(!text.contains('\\'));
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
