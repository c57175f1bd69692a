use std::fmt;

use aws_lc_rs::hmac;

use crate::request::AccountId;

/// What stands for an account in journal records, cache keys and logs: HMAC-SHA-256 of its
/// identifier, cut to 128 bits. Without the gateway's key nobody can go back to the number, nor
/// try numbers out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountKey([u8; 16]);

impl AccountKey {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From bytes that an earlier [`AccountKey::as_bytes`] gave, as in a journal record.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The journal partition of the account: one fixed function, the same in every gateway.
    pub fn partition(&self, partitions: u32) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d]) % partitions.max(1)
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey({self})")
    }
}

/// Makes [`AccountKey`]s: holds the key of the keyed hash.
#[derive(Clone)]
pub struct AccountHasher(hmac::Key);

impl AccountHasher {
    /// From the gateway's secret, of any length; 32 random bytes are best.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The key that stands for an account.
    pub fn key(&self, account: &AccountId) -> AccountKey {
        self.hash(account.as_str().as_bytes())
    }

    /// What tells this secret from others, in 32 hexadecimal digits, and gives nothing of it away.
    pub fn fingerprint(&self) -> String {
        // No account has this character.
        self.hash(b"\0fingerprint").to_string()
    }

    fn hash(&self, text: &[u8]) -> AccountKey {
        let tag = hmac::sign(&self.0, text);
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        AccountKey(bytes)
    }
}

impl fmt::Debug for AccountHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountHasher(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &[u8], account: &str) -> AccountKey {
        AccountHasher::new(secret).key(&AccountId::parse(account).unwrap())
    }

    #[test]
    fn the_key_depends_on_account_and_secret() {
        assert_eq!(key(b"Jefe", "4711"), key(b"Jefe", "4711"));
        assert_ne!(key(b"Jefe", "4711"), key(b"Jefe", "4712"));
        assert_ne!(key(b"Jefe", "4711"), key(b"other", "4711"));
    }

    #[test]
    fn a_fingerprint_is_the_secret_s_own() {
        let of = |secret: &[u8]| AccountHasher::new(secret).fingerprint();
        assert_eq!(of(b"Jefe"), of(b"Jefe"));
        assert_ne!(of(b"Jefe"), of(b"other"));
        assert_eq!(of(b"Jefe").len(), 32);
    }

    #[test]
    fn accounts_spread_over_all_partitions() {
        let hasher = AccountHasher::new(b"secret");
        let mut seen = [0; 16];
        for number in 0..1600 {
            let account = AccountId::parse(&format!("{number}")).unwrap();
            seen[hasher.key(&account).partition(16) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (50..=160).contains(count)), "{seen:?}");
    }
}
