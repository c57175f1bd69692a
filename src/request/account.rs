use std::fmt;
use std::sync::Arc;

/// Longest account identifier accepted, in bytes. An IBAN has 34, a UUID 36; anything beyond this
/// is an attack or a bug, and would only grow keys.
pub const MAX_ACCOUNT_BYTES: usize = 128;

/// The account that a request is about: what quotas count and the cache is keyed on.
///
/// Its `Debug` form hides the number, so that it can't slip into a log by way of a struct.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(Arc<str>);

/// Why a text can't be an account identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Nothing was there.
    #[error("the account identifier is empty")]
    Empty,
    /// More than [`MAX_ACCOUNT_BYTES`].
    #[error("the account identifier is longer than {MAX_ACCOUNT_BYTES} bytes")]
    TooLong,
    /// White space, control characters, characters outside ASCII, or dots alone.
    #[error("the account identifier has a character that none may have")]
    BadCharacter,
    /// Two or more where one is asked for: the gateway would go by one, and a backend by another.
    #[error("more than one account stands where one is asked for")]
    Several,
    /// A JSON number with a fraction or an exponent, or of more than 64 bits.
    #[error(
        "the account identifier is a number that is not whole or has more than 64 bits; send a text"
    )]
    NotWhole,
    /// JSON that is no name: an object, or a list where one account is asked for.
    #[error("the account identifier is not a text")]
    NotText,
    /// `%` without two hexadecimal digits, in the name or value of a query parameter. Some backends
    /// decode `%u0034`, some drop the `%`.
    #[error("the query that names the account has a broken percent escape")]
    BrokenEscape,
}

impl AccountId {
    /// Accepts 1 to [`MAX_ACCOUNT_BYTES`] printable ASCII characters without white space.
    pub fn parse(text: &str) -> Result<Self, AccountError> {
        if text.is_empty() {
            return Err(AccountError::Empty);
        }
        if text.len() > MAX_ACCOUNT_BYTES {
            return Err(AccountError::TooLong);
        }
        // A dot segment in a backend's path would be a step to another resource.
        let dots = matches!(text, "." | "..");
        if dots || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AccountError::BadCharacter);
        }
        Ok(Self(text.into()))
    }

    /// The identifier in clear. For keys use `account::AccountKey` instead.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Shortest account that is hidden inside a word too. A shorter one may be a part of any word, and
/// is hidden where it stands alone.
const HIDDEN_ANYWHERE: usize = 4;

/// A text that may be shown: `{account}` stands for each of the accounts in it.
pub fn hide_accounts(text: &str, accounts: &[AccountId]) -> String {
    let mut shown = String::with_capacity(text.len());
    let (mut before, mut rest) = (None, text);
    while let Some(next) = rest.chars().next() {
        // The longest, or what is left of it would be shown.
        let found = accounts.iter().filter(|account| account.begins(before, rest));
        let length = match found.max_by_key(|account| account.0.len()) {
            Some(account) => {
                shown.push_str("{account}");
                account.0.len()
            }
            None => {
                shown.push(next);
                next.len_utf8()
            }
        };
        let (done, left) = rest.split_at(length);
        (before, rest) = (done.chars().next_back(), left);
    }
    shown
}

impl AccountId {
    fn begins(&self, before: Option<char>, text: &str) -> bool {
        let Some(after) = text.strip_prefix(&*self.0) else { return false };
        // A dot too is a part of a word: of an address or a host.
        let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '.');
        self.0.len() >= HIDDEN_ANYWHERE || !(in_word(before) || in_word(after.chars().next()))
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountId(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iban_is_an_account() {
        assert_eq!(
            AccountId::parse("DE89370400440532013000").unwrap().as_str(),
            "DE89370400440532013000"
        );
    }

    #[test]
    fn empty_long_and_unprintable_identifiers_are_refused() {
        assert_eq!(AccountId::parse(""), Err(AccountError::Empty));
        assert_eq!(AccountId::parse(&"9".repeat(129)), Err(AccountError::TooLong));
        for bad in ["a b", "a\0b", "a\nb", "kontö", "..", "."] {
            assert_eq!(AccountId::parse(bad), Err(AccountError::BadCharacter), "{bad:?}");
        }
    }

    #[test]
    fn all_accounts_are_hidden_and_words_stay_whole() {
        let hidden = |text: &str, accounts: &[&str]| {
            let accounts: Vec<_> =
                accounts.iter().map(|text| AccountId::parse(text).unwrap()).collect();
            hide_accounts(text, &accounts)
        };
        assert_eq!(hidden("DE4711,FR4712", &["DE4711", "FR4712"]), "{account},{account}");
        assert_eq!(hidden("47110 of-4711.json", &["4711", "47110"]), "{account} of-{account}.json");
        assert_eq!(
            hidden("127.0.61.2/everyone/e/12", &["e", "12"]),
            "127.0.61.2/everyone/{account}/{account}"
        );
        assert_eq!(hidden("127.0.61.2, 2", &["2"]), "127.0.61.2, {account}");
        assert_eq!(hidden("ü4711ß", &["4711"]), "ü{account}ß");
        assert_eq!(hidden("4711", &[]), "4711");
    }

    #[test]
    fn debug_output_hides_the_number() {
        let account = AccountId::parse("12345678").unwrap();
        assert!(!format!("{account:?}").contains("1234"));
    }
}
