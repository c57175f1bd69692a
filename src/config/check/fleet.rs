use std::net::{IpAddr, SocketAddr};

use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext, X509VerifyResult};
use std::sync::Arc;

use super::listener::collide;
use super::{Check, address, files};
use crate::config::model::{Admin, Fleet, Listener};
use crate::config::raw;
use crate::config::spot::Spot;

const GATEWAY: &str = "gateway-1.bank.internal:8444";

/// Ports that are in use already.
pub(super) struct Taken<'c> {
    pub listeners: &'c [Arc<Listener>],
    pub admin: Option<&'c Admin>,
}

pub(super) fn fleet(
    raw: Option<&raw::Fleet>,
    at: &Spot<'_>,
    taken: &Taken<'_>,
    check: &mut Check<'_>,
) -> Option<Fleet> {
    let raw = raw?;
    let listen = listen(&raw.listen, &at.key("listen"), taken, check);
    let host = advertised(&raw.advertise, &at.key("advertise"), check);
    let authorities = files::authorities(&raw.authorities, &at.key("authorities"), check);
    let (at_certificate, at_key) = (at.key("certificate"), at.key("key"));
    let pair = files::pair((&raw.certificate, &at_certificate), (&raw.key, &at_key), check);
    let ((authorities, bundle), pair, host) = (authorities?, pair?, host?);
    // The others would refuse it, and each refusal would look like a gateway that is down.
    if let Err(flaw) = trusted(&pair.chain_pem, &bundle, host) {
        let (message, hint) = explain(&flaw, host, &at_certificate, &at.key("authorities"));
        check.error(&at_certificate, message).hint(hint);
    }
    Some(Fleet {
        listen: listen?,
        advertise: raw.advertise.as_str().into(),
        authorities,
        certificate: pair.certificate,
        key: pair.key,
    })
}

fn listen(
    text: &str,
    at: &Spot<'_>,
    taken: &Taken<'_>,
    check: &mut Check<'_>,
) -> Option<SocketAddr> {
    let address = address::socket(text, at, check)?;
    if address.port() == 0 {
        check.error(at, "port 0 takes any that is free: the others could not find it");
    }
    if taken.listeners.iter().any(|listener| collide(listener.address, address)) {
        check.error(at, "a port of `listen` has this address already");
    }
    if taken.admin.is_some_and(|admin| collide(admin.address, address)) {
        check.error(at, "`admin` has this address already");
    }
    Some(address)
}

/// The host at which others reach this gateway.
fn advertised<'t>(text: &'t str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<&'t str> {
    let (host, _) = address::peer(text, GATEWAY, at, check)?;
    if host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()) {
        check
            .error(at, format!("{} is no address that others can reach", at.quoted()))
            .hint(format!("write this gateway's own name or address, as in `{GATEWAY}`"));
        return None;
    }
    Some(host)
}

/// Whether other gateways will take a chain for that of a host, as a server's and as a client's.
/// The time is not looked at: a gateway that can't forward any more should go on serving its own
/// accounts. A certificate that is over or soon will be is warned of where its file is read.
fn trusted(chain: &[u8], authorities: &[u8], host: &str) -> Result<(), X509VerifyResult> {
    let chain = X509::stack_from_pem(chain).unwrap_or_default();
    let verify = |purpose| -> Result<X509VerifyResult, openssl::error::ErrorStack> {
        let mut param = X509VerifyParam::new()?;
        param.set_flags(X509VerifyFlags::NO_CHECK_TIME)?;
        match host.parse() {
            Ok(address) => param.set_ip(address)?,
            Err(_) => param.set_host(host)?,
        }
        let mut store = X509StoreBuilder::new()?;
        store.set_param(&param)?;
        store.set_purpose(purpose)?;
        for authority in X509::stack_from_pem(authorities)? {
            store.add_cert(authority)?;
        }
        let mut others = Stack::new()?;
        for certificate in chain.iter().skip(1) {
            others.push(certificate.clone())?;
        }
        let Some(leaf) = chain.first() else {
            return Ok(X509VerifyResult::APPLICATION_VERIFICATION);
        };
        let mut context = X509StoreContext::new()?;
        context.init(&store.build(), leaf, &others, |context| {
            context.verify_cert()?;
            Ok(context.error())
        })
    };
    for purpose in [X509PurposeId::SSL_SERVER, X509PurposeId::SSL_CLIENT] {
        let result = verify(purpose).unwrap_or(X509VerifyResult::APPLICATION_VERIFICATION);
        if result != X509VerifyResult::OK {
            return Err(result);
        }
    }
    Ok(())
}

/// What to say of a certificate that the other gateways would refuse, and what to do.
fn explain(
    flaw: &X509VerifyResult,
    host: &str,
    at: &Spot<'_>,
    at_authorities: &Spot<'_>,
) -> (String, String) {
    const HOSTNAME_MISMATCH: i32 = 62;
    const ADDRESS_MISMATCH: i32 = 64;
    if matches!(flaw.as_raw(), HOSTNAME_MISMATCH | ADDRESS_MISMATCH) {
        return (
            format!("{} is not for the host `{host}` of `advertise`", at.quoted()),
            "the host must be among its subject alternative names".into(),
        );
    }
    let message = format!(
        "other gateways would not trust {} by {}: {}",
        at.quoted(),
        at_authorities.quoted(),
        flaw.error_string()
    );
    let hint = "it must be signed by the fleet's authority, for servers and for clients".into();
    (message, hint)
}
