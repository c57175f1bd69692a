//! Signature algorithms of RFC 7518 and RFC 8037: making keys and signatures.

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde::{Deserialize, Serialize};

use super::base64url;

/// What the bank can sign with. The names are those of the JOSE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// How a family of algorithms signs.
enum Scheme {
    Rsa(Padding),
    Ecdsa(Curve),
    Ed25519,
}

#[derive(Clone, Copy)]
struct Curve {
    nid: Nid,
    name: &'static str,
    /// Of a coordinate, and of each half of a signature (RFC 7518 section 3.4).
    bytes: i32,
}

const P256: Curve = Curve { nid: Nid::X9_62_PRIME256V1, name: "P-256", bytes: 32 };
const P384: Curve = Curve { nid: Nid::SECP384R1, name: "P-384", bytes: 48 };

impl Algorithm {
    /// The ones that the bank always has a key for.
    pub const OFFERED: [Self; 5] =
        [Self::Rs256, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// The name in a JOSE header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The offered algorithm whose key serves for this one too.
    pub const fn key_family(self) -> Self {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 => Self::Rs256,
            Self::Ps256 | Self::Ps384 | Self::Ps512 => Self::Ps256,
            Self::Es256 | Self::Es384 | Self::EdDsa => self,
        }
    }

    /// Whether its keys are RSA keys.
    pub const fn is_rsa(self) -> bool {
        matches!(self.scheme(), Scheme::Rsa(_))
    }

    const fn scheme(self) -> Scheme {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 => Scheme::Rsa(Padding::PKCS1),
            Self::Ps256 | Self::Ps384 | Self::Ps512 => Scheme::Rsa(Padding::PKCS1_PSS),
            Self::Es256 => Scheme::Ecdsa(P256),
            Self::Es384 => Scheme::Ecdsa(P384),
            Self::EdDsa => Scheme::Ed25519,
        }
    }

    fn digest(self) -> MessageDigest {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 => MessageDigest::sha256(),
            Self::Rs384 | Self::Ps384 | Self::Es384 => MessageDigest::sha384(),
            Self::Rs512 | Self::Ps512 | Self::EdDsa => MessageDigest::sha512(),
        }
    }

    /// Makes a key. `rsa_bits` matters to the RSA algorithms only.
    pub fn generate(self, rsa_bits: u32) -> Result<PKey<Private>, ErrorStack> {
        match self.scheme() {
            Scheme::Rsa(_) => PKey::from_rsa(Rsa::generate(rsa_bits)?),
            Scheme::Ecdsa(curve) => {
                let group = EcGroup::from_curve_name(curve.nid)?;
                PKey::from_ec_key(EcKey::generate(&group)?)
            }
            Scheme::Ed25519 => PKey::generate_ed25519(),
        }
    }

    /// Signs, in the form that JWS wants. Fails when the key is not one for this algorithm.
    pub fn sign(self, key: &PKey<Private>, message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        match self.scheme() {
            Scheme::Rsa(padding) => {
                // Asked first, since OpenSSL would sign with an EC key just as well.
                key.rsa()?;
                let mut signer = Signer::new(self.digest(), key)?;
                signer.set_rsa_padding(padding)?;
                if padding == Padding::PKCS1_PSS {
                    // RFC 7518 section 3.5: the salt is as long as the digest.
                    signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                }
                signer.sign_oneshot_to_vec(message)
            }
            Scheme::Ecdsa(curve) => {
                let ec_key = key.ec_key()?;
                let signature = EcdsaSig::sign(&hash(self.digest(), message)?, &ec_key)?;
                let mut bytes = signature.r().to_vec_padded(curve.bytes)?;
                bytes.extend(signature.s().to_vec_padded(curve.bytes)?);
                Ok(bytes)
            }
            Scheme::Ed25519 => {
                key.raw_public_key()?;
                Signer::new_without_digest(key)?.sign_oneshot_to_vec(message)
            }
        }
    }

    /// The public members of the key's JWK, in the order in which RFC 7638 hashes them.
    pub fn public_members(
        self,
        key: &PKey<Private>,
    ) -> Result<Vec<(&'static str, String)>, ErrorStack> {
        match self.scheme() {
            Scheme::Rsa(_) => {
                let rsa = key.rsa()?;
                Ok(vec![
                    ("e", base64url(&rsa.e().to_vec())),
                    ("kty", "RSA".to_owned()),
                    ("n", base64url(&rsa.n().to_vec())),
                ])
            }
            Scheme::Ecdsa(curve) => {
                let ec_key = key.ec_key()?;
                let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
                let context = &mut *BigNumContext::new()?;
                ec_key.public_key().affine_coordinates(ec_key.group(), &mut x, &mut y, context)?;
                Ok(vec![
                    ("crv", curve.name.to_owned()),
                    ("kty", "EC".to_owned()),
                    ("x", base64url(&x.to_vec_padded(curve.bytes)?)),
                    ("y", base64url(&y.to_vec_padded(curve.bytes)?)),
                ])
            }
            Scheme::Ed25519 => Ok(vec![
                ("crv", "Ed25519".to_owned()),
                ("kty", "OKP".to_owned()),
                ("x", base64url(&key.raw_public_key()?)),
            ]),
        }
    }
}
