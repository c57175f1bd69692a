use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::VaultError;
use crate::config::model::Secret;

/// Name of the file with the key that is made where the configuration gives none.
const KEY_FILE: &str = "sealing.key";

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
    /// The configured keys and, behind them, the one in `directory`, which is made if there are
    /// none configured and it isn't there.
    pub(super) fn load(directory: &Path, configured: &[Secret]) -> Result<Self, VaultError> {
        let made = read_key(directory)?;
        let made = match made {
            None if configured.is_empty() => Some(make_key(directory)?),
            other => other,
        };
        let texts = configured.iter().map(Secret::reveal).chain(made.as_deref());
        Self::new(texts).map_err(|_| VaultError::SealingKey("it can't be used as a key".into()))
    }

    fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, Unspecified> {
        texts.map(SealingKey::derive).collect::<Result<_, _>>().map(Self)
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

fn read_key(directory: &Path) -> Result<Option<String>, VaultError> {
    let path = directory.join(KEY_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(VaultError::File { path, error }),
    };
    if !STANDARD.decode(text.trim()).is_ok_and(|key| key.len() == 32) {
        let why = format!(
            "{} is damaged; without it the kept answers can't be read, so delete it and the cache",
            path.display()
        );
        return Err(VaultError::SealingKey(why));
    }
    // Some platforms widen the mode of mounted volumes at each start, so this is no refusal.
    let mode = fs::metadata(&path).map(|file| file.permissions().mode()).unwrap_or_default();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others than the owner may read the sealing key");
    }
    Ok(Some(text))
}

fn make_key(directory: &Path) -> Result<String, VaultError> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key)
        .map_err(|Unspecified| VaultError::SealingKey("there is no randomness".into()))?;
    let text = STANDARD.encode(key);
    let path = directory.join(KEY_FILE);
    write_key(directory, &path, &text).map_err(|error| VaultError::File { path, error })?;
    Ok(text)
}

/// Under another name first: a crash must not leave half a key.
fn write_key(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    if let Err(error) = fs::remove_file(&draft)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
impl KeyRing {
    pub(super) fn of(texts: &[&str]) -> Self {
        Self::new(texts.iter().copied()).unwrap()
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
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut text = b"answer".to_vec();
        let seal = KeyRing::load(directory.path(), &[]).unwrap().seal(b"", &mut text).unwrap();
        let file = directory.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let configured = [Secret::new("a key of the operator's")];
        let later = KeyRing::load(directory.path(), &configured).unwrap();
        assert_eq!(later.open(&seal, b"", &mut text.clone()).unwrap(), b"answer");
        assert_ne!(later.seal(b"", &mut text).unwrap().key, seal.key);
    }

    #[test]
    fn a_configured_key_makes_no_file() {
        let directory = tempfile::tempdir().unwrap();
        KeyRing::load(directory.path(), &[Secret::new("mine")]).unwrap();
        assert!(!directory.path().join(KEY_FILE).exists());
    }

    #[test]
    fn a_damaged_key_file_is_said_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY_FILE), "oops").unwrap();
        let error = KeyRing::load(directory.path(), &[]).err().unwrap().to_string();
        assert!(error.contains("sealing.key is damaged"), "{error}");
        assert_eq!(fs::read_to_string(directory.path().join(KEY_FILE)).unwrap(), "oops");
    }
}
