"""Keys, a certificate and tokens for `make compare`, made once and kept until they are old.

    python tokens.py DIRECTORY COUNT ISSUER

Needs the `cryptography` package, so compare.sh gives it a Python that has it; everything else in this
folder does with the standard library. In DIRECTORY stand afterwards:

    jwks.json                     the public keys of the issuer, for Envoy and for whoever fetches them
    ES256.pem, RS256.pem          the same keys in PEM, for HAProxy
    ES256.txt, RS256.txt          COUNT tokens each, one a line, no two alike
    bad.json                      tokens by algorithm that must be refused, by what is wrong with them
    server.pem, server.key        a certificate for 127.0.0.1 (P-256) and its key; chain.pem has both
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import multiprocessing
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

LIFETIME = 7 * 86400
"""Seconds that tokens and certificate last."""

FRESH = 86400
"""Tokens with less than this left are made anew, so that none ends while they are used."""

Sign = Callable[[bytes], bytes]


def base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    """An integer as a JWK has it (RFC 7518 section 2)."""
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Key:
    """A signing key of one algorithm."""

    def __init__(self, algorithm: str, kid: str) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self._private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        if algorithm == "ES256":
            self._private = ec.generate_private_key(ec.SECP256R1())
        else:
            # What identity providers commonly have.
            self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def sign(self, data: bytes) -> bytes:
        """A signature as a JWS has it (RFC 7518 sections 3.3 and 3.4)."""
        if isinstance(self._private, rsa.RSAPrivateKey):
            return self._private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self._private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def jwk(self) -> dict[str, str]:
        """The public key as a JWK (RFC 7517)."""
        common = {"kid": self.kid, "alg": self.algorithm, "use": "sig"}
        public = self._private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **common}
        point = public.public_numbers()
        return {"kty": "EC", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32), **common}

    def pem(self) -> bytes:
        """The public key in PEM (SPKI)."""
        return self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def token(key: Key, issuer: str, scope: str = "accounts:read", lifetime: int = LIFETIME) -> str:
    """A token as RFC 9068 wants it, with an identifier that no other has."""
    now = int(time.time())
    header = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid}
    claims = {
        "iss": issuer,
        "aud": "accounts",
        "sub": "compare",
        "client_id": "compare",
        "scope": f"openid {scope}",
        "iat": now - 60,
        "exp": now + lifetime,
        "jti": str(uuid.uuid4()),
    }
    text = ".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{text}.{base64url(key.sign(text.encode()))}"


_worker: tuple[Key, str]


def _batch(count: int) -> str:
    key, issuer = _worker
    return "".join(f"{token(key, issuer)}\n" for _ in range(count))


def write_tokens(path: Path, key: Key, issuer: str, count: int) -> None:
    """Signs on all cores there are: RSA takes most of a millisecond for each."""
    global _worker
    _worker = (key, issuer)
    batch = 500
    with multiprocessing.get_context("fork").Pool() as pool, path.open("w") as file:
        left = count
        for lines in pool.imap_unordered(_batch, [batch] * -(-count // batch)):
            file.writelines(lines.splitlines(keepends=True)[:left])
            left -= batch


def write_certificate(directory: Path) -> None:
    """A certificate that signs itself; the load doesn't verify it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(seconds=LIFETIME))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "server.pem").write_bytes(pem)
    (directory / "server.key").write_bytes(private)
    (directory / "chain.pem").write_bytes(pem + private)


def main() -> None:
    """Makes what is missing or old."""
    directory, count, issuer = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    made = directory / "made.json"
    wanted = {"count": count, "issuer": issuer}
    if made.exists():
        last = json.loads(made.read_text())
        young = last.pop("time") + LIFETIME - FRESH > time.time()
        if young and last["issuer"] == issuer and last["count"] >= count:
            return
    directory.mkdir(parents=True, exist_ok=True)
    print(f"signing {count} tokens each with ES256 and RS256", file=sys.stderr)
    write_certificate(directory)
    keys, bad = [], {}
    for algorithm in ("ES256", "RS256"):
        key, stranger = (Key(algorithm, f"compare-{algorithm}") for _ in range(2))
        keys.append(key.jwk())
        (directory / f"{algorithm}.pem").write_bytes(key.pem())
        bad[algorithm] = {
            # Another's key under the issuer's key id.
            "forged": token(stranger, issuer),
            "expired": token(key, issuer, lifetime=-3600),
            "issuer": token(key, "https://elsewhere.example"),
            "scope": token(key, issuer, scope="accounts:readonly"),
        }
        write_tokens(directory / f"{algorithm}.txt", key, issuer, count)
    (directory / "jwks.json").write_text(json.dumps({"keys": keys}))
    (directory / "bad.json").write_text(json.dumps(bad))
    made.write_text(json.dumps({**wanted, "time": time.time()}))


if __name__ == "__main__":
    main()
