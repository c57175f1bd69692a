use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use super::VaultError;
use crate::config::model::Secret;

pub(super) const KEY_ID_BYTES: usize = 8;
pub(super) const NONCE_BYTES: usize = 12;
pub(super) const TAG_BYTES: usize = 16;

/// Keys under which answers are sealed before they leave memory. The first seals, all open, so
/// that a key can be changed without losing what the old one sealed.
///
/// AES-256-GCM (NIST SP 800-38D) with random nonces: a key should be changed before it has sealed
/// 2^32 answers, which at a hundred a second is after sixteen months.
pub(super) struct KeyRing(Vec<SealingKey>);

struct SealingKey {
    id: [u8; KEY_ID_BYTES],
    key: RandomizedNonceKey,
}

/// What a sealed text needs to be opened again.
pub(super) struct Seal {
    pub(super) key: [u8; KEY_ID_BYTES],
    pub(super) nonce: [u8; NONCE_BYTES],
}

/// Why a sealed text did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    #[error("sealed with a key that is not configured")]
    UnknownKey,
    #[error("not what was sealed")]
    Broken,
}

impl KeyRing {
    /// Of these keys, newest first.
    pub(super) fn new(keys: &[Secret]) -> Result<Self, VaultError> {
        if keys.is_empty() {
            return Err(VaultError::SealingKey("none is given"));
        }
        let derived = keys.iter().map(|key| SealingKey::derive(key.reveal()));
        let ring = derived.collect::<Result<_, _>>().map(Self);
        ring.map_err(|Unspecified| VaultError::SealingKey("it can't be used as a key"))
    }

    /// Seals `text` in place and appends the tag.
    pub(super) fn seal(&self, bound_to: &[u8], text: &mut Vec<u8>) -> Result<Seal, SealError> {
        let newest = self.0.first().ok_or(SealError::UnknownKey)?;
        let nonce = newest
            .key
            .seal_in_place_append_tag(Aad::from(bound_to), text)
            .map_err(|Unspecified| SealError::Broken)?;
        Ok(Seal { key: newest.id, nonce: *nonce.as_ref() })
    }

    /// Opens `sealed` in place; what it returns is its beginning.
    pub(super) fn open<'t>(
        &self,
        seal: &Seal,
        bound_to: &[u8],
        sealed: &'t mut [u8],
    ) -> Result<&'t mut [u8], SealError> {
        let key = self.0.iter().find(|key| key.id == seal.key).ok_or(SealError::UnknownKey)?;
        key.key
            .open_in_place(Nonce::assume_unique_for_key(seal.nonce), Aad::from(bound_to), sealed)
            .map_err(|Unspecified| SealError::Broken)
    }
}

impl SealingKey {
    /// HKDF (RFC 5869) over the text: one output is the key, another tells keys apart.
    fn derive(text: &str) -> Result<Self, Unspecified> {
        let secret = Salt::new(HKDF_SHA256, b"tollgate vault").extract(text.trim().as_bytes());
        let mut key = [0; 32];
        secret.expand(&[b"seal"], Length(key.len()))?.fill(&mut key)?;
        let mut id = [0; KEY_ID_BYTES];
        secret.expand(&[b"name"], Length(id.len()))?.fill(&mut id)?;
        Ok(Self { id, key: RandomizedNonceKey::new(&AES_256_GCM, &key)? })
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
impl KeyRing {
    pub(super) fn of(texts: &[&str]) -> Self {
        Self::new(&texts.iter().map(|text| Secret::new(*text)).collect::<Vec<_>>()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_key_seals_and_older_ones_still_open() {
        let old = KeyRing::of(&["old"]);
        let mut text = b"balance 12.34".to_vec();
        let seal = old.seal(b"place", &mut text).unwrap();
        assert!(!text.windows(5).any(|window| window == b"12.34"));

        let rotated = KeyRing::of(&["new", "old"]);
        assert_eq!(rotated.open(&seal, b"place", &mut text.clone()).unwrap(), b"balance 12.34");
        let mut again = b"balance".to_vec();
        assert_ne!(rotated.seal(b"place", &mut again).unwrap().key, seal.key);

        let without = KeyRing::of(&["new"]);
        assert_eq!(
            without.open(&seal, b"place", &mut text.clone()).unwrap_err(),
            SealError::UnknownKey
        );
        assert_eq!(old.open(&seal, b"other", &mut text).unwrap_err(), SealError::Broken);
    }

    #[test]
    fn a_ring_without_keys_is_refused() {
        let error = KeyRing::new(&[]).err().unwrap().to_string();
        assert!(error.contains("none is given"), "{error}");
    }
}
