use serde_json::Value;

use super::flaw::Flaw;
use super::json::parse_object;
use super::jwk::Key;
use super::token::Header;

/// Most keys in a set; providers publish 2 to 10.
const MAX_KEYS: usize = 100;

/// A provider's usable keys at one time.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Tells this set from every other set of every provider in this process.
    pub(super) generation: u64,
}

/// Why a document is no key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetFlaw {
    #[error("it is no JSON object, repeats a member or is nested too deeply")]
    NotJson,
    #[error("it has no list 'keys'")]
    NoKeys,
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    #[error("none of its {0} keys can be used")]
    NoneUsable(usize),
}

/// Reads a JWK Set (RFC 7517 section 5). Keys that can't be used are left out, so that a provider
/// may add a kind of key that this gateway doesn't know.
pub(super) fn read_keys(document: &[u8]) -> Result<Vec<Key>, KeySetFlaw> {
    let document = parse_object(document).map_err(|_| KeySetFlaw::NotJson)?;
    let listed = document.get("keys").and_then(Value::as_array).ok_or(KeySetFlaw::NoKeys)?;
    if listed.len() > MAX_KEYS {
        return Err(KeySetFlaw::TooMany);
    }
    let mut keys: Vec<Key> = Vec::new();
    for (position, jwk) in listed.iter().enumerate() {
        match Key::read(jwk) {
            // Of two with one id the first counts: a set that tricks another reader into the
            // second must not trick this one too.
            Ok(key) if key.id.is_some() && keys.iter().any(|known| known.id == key.id) => {
                tracing::debug!(position, "left out a key: its id is taken by one before it");
            }
            Ok(key) => keys.push(key),
            Err(flaw) => tracing::debug!(position, %flaw, "left out a key"),
        }
    }
    if keys.is_empty() {
        return Err(KeySetFlaw::NoneUsable(listed.len()));
    }
    Ok(keys)
}

impl KeySet {
    pub(super) fn new(keys: Vec<Key>, generation: u64) -> Self {
        Self { keys, generation }
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key that a token must be signed with. [`Flaw::UnknownKey`] means that a newer set may
    /// have it.
    pub(super) fn choose(&self, header: &Header) -> Result<&Key, Flaw> {
        match header.key_id.as_deref() {
            Some(id) => {
                let named = self.keys.iter().find(|key| key.id.as_deref() == Some(id));
                let key = named.ok_or(Flaw::UnknownKey)?;
                if key.fits(header.algorithm) { Ok(key) } else { Err(Flaw::KeyMisfit) }
            }
            None => {
                let mut fitting = self.keys.iter().filter(|key| key.fits(header.algorithm));
                let key = fitting.next().ok_or(Flaw::UnknownKey)?;
                if fitting.next().is_none() { Ok(key) } else { Err(Flaw::NoSingleKey) }
            }
        }
    }
}
