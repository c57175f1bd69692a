//! An authority that signs certificates.

use std::path::PathBuf;
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod};
use openssl::x509::X509;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use tempfile::TempDir;

/// An authority and what it signs, as files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Signed {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub certificate: String,
    pub key: String,
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(parameters, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("authority.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// The file with its certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate for servers and clients into `FILE.crt` and `FILE.key`, in the place of
    /// those before.
    pub fn sign(&self, file: &str, names: &[&str]) -> Signed {
        self.sign_as(file, names, |_| ())
    }

    /// The same, to end so many seconds after the beginning of 1970.
    pub fn sign_until(&self, file: &str, names: &[&str], ends: u64) -> Signed {
        let ends = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(ends);
        self.sign_as(file, names, |parameters| parameters.not_after = ends)
    }

    fn sign_as(
        &self,
        file: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let signed = Signed {
            certificate_file: self.folder.path().join(format!("{file}.crt")),
            key_file: self.folder.path().join(format!("{file}.key")),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        };
        std::fs::write(&signed.certificate_file, &signed.certificate).unwrap();
        std::fs::write(&signed.key_file, &signed.key).unwrap();
        signed
    }
}

impl Signed {
    /// A server that shows it.
    pub fn acceptor(&self) -> SslAcceptorBuilder {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        builder.set_certificate(&X509::from_pem(self.certificate.as_bytes()).unwrap()).unwrap();
        let key = PKey::private_key_from_pem(self.key.as_bytes()).unwrap();
        builder.set_private_key(&key).unwrap();
        builder
    }
}
