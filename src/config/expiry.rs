//! When certificates end, and from when on somebody should know. Nothing is refused for it here: a
//! gateway whose certificate is over goes on with all that needs none.

use openssl::asn1::Asn1Time;
use openssl::x509::{X509, X509Ref, X509VerifyResult};

use crate::request::UnixMillis;

const DAY: u64 = 86_400_000;
/// Days before its end from which on a certificate is warned of: time to order another one.
const SOON: u64 = 30;
/// Days before its end from which on that can't wait.
const VERY_SOON: u64 = 3;

/// How near a certificate's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nearness {
    /// More than 30 days away.
    Far,
    /// Within 30 days.
    Soon,
    /// Within 3 days.
    VerySoon,
    /// It has ended: whoever is shown the certificate refuses it.
    Over,
}

impl Nearness {
    /// How near an end is at a time.
    pub fn of(ends: UnixMillis, now: UnixMillis) -> Self {
        match ends.0.checked_sub(now.0) {
            None => Self::Over,
            Some(left) if left <= VERY_SOON * DAY => Self::VerySoon,
            Some(left) if left <= SOON * DAY => Self::Soon,
            Some(_) => Self::Far,
        }
    }
}

/// The end in words, to follow a certificate's name.
pub fn words(ends: UnixMillis, now: UnixMillis) -> String {
    let at = ends.rfc3339();
    match ends.0.checked_sub(now.0) {
        None => format!("expired {} ago, at {at}", days(now.0 - ends.0)),
        Some(left) => format!("ends in {}, at {at}", days(left)),
    }
}

fn days(span: u64) -> String {
    match span / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// When one certificate ends. `None` if its end is no time.
fn end_of(certificate: &X509Ref) -> Option<UnixMillis> {
    let since = Asn1Time::from_unix(0).ok()?.diff(certificate.not_after()).ok()?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    Some(UnixMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)))
}

/// When a chain ends: with the first of its certificates that does.
pub fn of_chain<'c>(chain: impl IntoIterator<Item = &'c X509>) -> Option<UnixMillis> {
    chain.into_iter().filter_map(|one| end_of(one)).min()
}

/// The same of a chain in PEM.
pub fn of_pem(chain: &[u8]) -> Option<UnixMillis> {
    of_chain(&X509::stack_from_pem(chain).ok()?)
}

/// When a chain ends for those who trust it by these authorities: the one that signed it may end
/// before it does.
pub fn of_trusted(chain: &[X509], authorities: &[X509]) -> Option<UnixMillis> {
    let last = chain.last()?;
    let signed = authorities.iter().filter(|one| one.issued(last) == X509VerifyResult::OK);
    // Of one that was renewed under its name, the later counts.
    let authority = signed.filter_map(|one| end_of(one)).max();
    of_chain(chain).into_iter().chain(authority).min()
}

/// When the last of some authorities ends: from then on nobody is trusted by them.
pub fn of_authorities(authorities: &[X509]) -> Option<UnixMillis> {
    authorities.iter().filter_map(|one| end_of(one)).max()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    const END: u64 = 2_000_000_000;

    fn parameters(ends: u64) -> CertificateParams {
        let mut parameters = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(ends);
        parameters
    }

    fn authority(name: &str, ends: u64) -> CertifiedIssuer<'static, KeyPair> {
        let mut parameters = parameters(ends);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    }

    fn x509(pem: &str) -> X509 {
        X509::from_pem(pem.as_bytes()).unwrap()
    }

    fn signed(by: &CertifiedIssuer<'static, KeyPair>, ends: u64) -> X509 {
        let key = KeyPair::generate().unwrap();
        x509(&parameters(ends).signed_by(&key, by).unwrap().pem())
    }

    fn at(seconds: u64) -> Option<UnixMillis> {
        Some(UnixMillis(seconds * 1000))
    }

    #[test]
    fn a_certificate_is_warned_of_for_30_days_and_cannot_wait_for_the_last_3() {
        let ends = UnixMillis(END * 1000);
        for (left, nearness) in [
            (31 * DAY, Nearness::Far),
            (30 * DAY + 1, Nearness::Far),
            (30 * DAY, Nearness::Soon),
            (3 * DAY + 1, Nearness::Soon),
            (3 * DAY, Nearness::VerySoon),
            (0, Nearness::VerySoon),
        ] {
            assert_eq!(Nearness::of(ends, UnixMillis(ends.0 - left)), nearness, "{left}");
        }
        assert_eq!(Nearness::of(ends, UnixMillis(ends.0 + 1)), Nearness::Over);
        assert!(Nearness::Far < Nearness::Soon && Nearness::VerySoon < Nearness::Over);
    }

    #[test]
    fn the_days_that_are_left_are_whole_ones() {
        let ends = UnixMillis(END * 1000);
        let left = |left: u64| words(ends, UnixMillis(ends.0 - left));
        assert_eq!(left(12 * DAY + DAY / 2), "ends in 12 days, at 2033-05-18T03:33:20.000Z");
        assert_eq!(left(DAY), "ends in 1 day, at 2033-05-18T03:33:20.000Z");
        assert_eq!(left(DAY - 1), "ends in less than a day, at 2033-05-18T03:33:20.000Z");
        assert_eq!(left(0), "ends in less than a day, at 2033-05-18T03:33:20.000Z");
        let over = |since: u64| words(ends, UnixMillis(ends.0 + since));
        assert_eq!(over(1), "expired less than a day ago, at 2033-05-18T03:33:20.000Z");
        assert_eq!(over(3 * DAY), "expired 3 days ago, at 2033-05-18T03:33:20.000Z");
    }

    #[test]
    fn a_chain_ends_with_the_first_of_its_certificates_that_does() {
        let issuer = authority("between", END - 5);
        let leaf = signed(&issuer, END);
        let between = x509(&issuer.pem());
        assert_eq!(of_chain([&leaf]), at(END));
        assert_eq!(of_chain([&leaf, &between]), at(END - 5));
        assert_eq!(of_chain([]), None);
        let pem = [leaf.to_pem().unwrap(), between.to_pem().unwrap()].concat();
        assert_eq!(of_pem(&pem), at(END - 5));
        assert_eq!(of_pem(b"no certificate"), None);
        // Years that two digits don't tell.
        assert_eq!(of_chain([&signed(&issuer, 4_000_000_000)]), at(4_000_000_000));
    }

    #[test]
    fn the_authority_that_signed_a_chain_counts_and_no_other() {
        let (ours, other) = (authority("ours", END - 7), authority("other", END - 9));
        let leaf = signed(&ours, END);
        let authorities = [x509(&other.pem()), x509(&ours.pem())];
        assert_eq!(of_trusted(from_ref(&leaf), &authorities), at(END - 7));
        assert_eq!(of_trusted(from_ref(&leaf), &authorities[..1]), at(END));
        let renewed = [x509(&ours.pem()), x509(&authority("ours", END + 9).pem())];
        assert_eq!(of_trusted(from_ref(&leaf), &renewed), at(END));
        assert_eq!(of_authorities(&authorities), at(END - 7));
        assert_eq!(of_trusted(&[], &authorities), None);
    }
}
