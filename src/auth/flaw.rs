use crate::request::{Challenge, Refusal};

/// What is wrong with a token. Its text goes to the client, so it names the rule that was broken
/// and nothing of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    NotThreeParts,
    NotBase64,
    NotJson,
    NotAnObject,
    RepeatedMember,
    TooDeep,
    Critical,
    Type,
    Algorithm,
    KeyId,
    UnknownKey,
    NoSingleKey,
    KeyMisfit,
    Signature,
    Issuer,
    Audience,
    NoExpiry,
    Expired,
    NotYetValid,
    IssuedAt,
    TooLong,
    Client,
    Subject,
    Scope,
    Confirmation,
    Certificate,
}

impl Flaw {
    /// The `error_description` of RFC 6750 section 3.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NotThreeParts => "the token does not have three parts",
            Self::NotBase64 => "a part of the token is not base64url without padding",
            Self::NotJson => "a part of the token is not JSON",
            Self::NotAnObject => "a part of the token is not a JSON object",
            Self::RepeatedMember => "the token names a member twice",
            Self::TooDeep => "the token is nested too deeply",
            Self::Critical => "the token has a critical header that is not understood",
            Self::Type => "the token is of another type",
            Self::Algorithm => "the token's signature algorithm is not accepted",
            Self::KeyId => "the token's key id is not a text of 1 to 256 bytes",
            Self::UnknownKey => "the token's key is unknown",
            Self::NoSingleKey => "the token names no key and not exactly one fits",
            Self::KeyMisfit => "the token's key is for another algorithm",
            Self::Signature => "the token's signature is wrong",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for another audience",
            Self::NoExpiry => "the token does not say when it expires",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::IssuedAt => "the token's time of issue makes no sense",
            Self::TooLong => "the token lives longer than is accepted",
            Self::Client => "the token names no client",
            Self::Subject => "the token's subject is not a text of 1 to 512 bytes",
            Self::Scope => "the token's scopes are neither a text nor a list of texts",
            Self::Confirmation => "the token is bound in a way that can't be confirmed here",
            Self::Certificate => "the token is bound to another client certificate",
        }
    }
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        Self::Unauthenticated(Challenge::Invalid(flaw.reason()))
    }
}
