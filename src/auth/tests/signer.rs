use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use serde_json::{Value, json};

/// A key pair of an identity provider.
pub struct Signer {
    pub id: String,
    pub algorithm: Algorithm,
    pub jwk: Value,
    key: EncodingKey,
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub fn p256(id: &str) -> Self {
        Self::ec(id, Algorithm::ES256, Nid::X9_62_PRIME256V1, 32, "P-256")
    }

    pub fn p384(id: &str) -> Self {
        Self::ec(id, Algorithm::ES384, Nid::SECP384R1, 48, "P-384")
    }

    fn ec(id: &str, algorithm: Algorithm, curve: Nid, length: i32, name: &str) -> Self {
        let group = EcGroup::from_curve_name(curve).unwrap();
        let pair = EcKey::generate(&group).unwrap();
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let mut context = BigNumContext::new().unwrap();
        let point = pair.public_key();
        point.affine_coordinates(&group, &mut x, &mut y, &mut context).unwrap();
        let coordinate = |n: BigNum| encode(n.to_vec_padded(length).unwrap());
        let jwk = json!({
            "kty": "EC", "crv": name, "kid": id, "x": coordinate(x), "y": coordinate(y)
        });
        let der = PKey::from_ec_key(pair).unwrap().private_key_to_pkcs8().unwrap();
        Self { id: id.into(), algorithm, jwk, key: EncodingKey::from_ec_der(&der) }
    }

    pub fn ed25519(id: &str) -> Self {
        let pair = PKey::generate_ed25519().unwrap();
        let x = encode(pair.raw_public_key().unwrap());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x });
        let der = pair.private_key_to_pkcs8().unwrap();
        let key = EncodingKey::from_ed_der(&der);
        Self { id: id.into(), algorithm: Algorithm::EdDSA, jwk, key }
    }

    pub fn rsa(id: &str, algorithm: Algorithm) -> Self {
        Self::rsa_of(id, algorithm, 2048)
    }

    pub fn rsa_of(id: &str, algorithm: Algorithm, bits: u32) -> Self {
        let pair = Rsa::generate(bits).unwrap();
        let jwk = json!({
            "kty": "RSA", "kid": id, "n": encode(pair.n().to_vec()), "e": encode(pair.e().to_vec())
        });
        let key = EncodingKey::from_rsa_der(&pair.private_key_to_der().unwrap());
        Self { id: id.into(), algorithm, jwk, key }
    }

    /// The JWK with a member set, or removed by null.
    pub fn jwk_with(&self, name: &str, value: Value) -> Value {
        with(&self.jwk, name, value)
    }

    /// A token with this key's usual header.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    pub fn header(&self) -> Value {
        let name = format!("{:?}", self.algorithm);
        json!({ "alg": name, "kid": self.id, "typ": "at+jwt" })
    }

    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), claims.to_string())
    }

    /// Signs whatever the texts are.
    pub fn sign_texts(&self, header: &str, claims: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{signature}")
    }

    pub fn sign(&self, message: &[u8]) -> String {
        self.sign_as(self.algorithm, message)
    }

    /// Signs by an algorithm that the key is not meant for.
    pub fn sign_as(&self, algorithm: Algorithm, message: &[u8]) -> String {
        crypto::sign(message, &self.key, algorithm).unwrap()
    }
}

/// An object with a member set, or removed by null.
pub fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut changed = object.as_object().unwrap().clone();
    if value.is_null() {
        changed.remove(name);
    } else {
        changed.insert(name.into(), value);
    }
    Value::Object(changed)
}
