//! Why verification failed. `dcap-qvl` decides; this says what its decision
//! rests on, from the dates, signatures and revocation lists themselves where
//! they tell, and from its error where they don't. Runs after a failure only.

use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::{
    cause::Cause,
    collateral::{self, QuoteCollateralV3},
    cryptography::issued_by,
    quote::DcapQuote,
};
use crate::{
    certificate::{chain::parse_issuer_chain, validity, x509},
    clock::UnixSeconds,
    error::{CollateralError, VerificationError},
};

/// Why a TD that is sound otherwise is refused.
const MIGRATABLE: &str = "the TD is migratable (bit 29 of its ATTRIBUTES), so a migration TD of the host's could move \
                          its memory to another machine";

/// Our own error in the place of `dcap-qvl`'s.
pub(super) fn explain(
    error: &anyhow::Error,
    bytes: &[u8],
    quote: &DcapQuote,
    collateral: &QuoteCollateralV3,
    now: UnixSeconds,
) -> VerificationError {
    match collateral::parts(collateral) {
        Err((what, reason)) => {
            return CollateralError::Malformed { origin: "given".to_owned(), what: what.to_owned(), reason }
                .into();
        }
        Ok(parts) => {
            for part in parts {
                if now > part.until {
                    return VerificationError::CollateralExpired { what: part.what, until: part.until, now };
                }
                if now < part.from {
                    return VerificationError::CollateralNotYetValid {
                        what: part.what,
                        from: part.from,
                        now,
                    };
                }
            }
        }
    }
    for (what, der) in ["PCK certificate", "PCK CA certificate"].into_iter().zip(&quote.pck_chain) {
        if let Ok(part) = validity::certificate(what, der)
            && !(part.from..=part.until).contains(&now)
        {
            return VerificationError::EvidenceValidity { what, from: part.from, until: part.until, now };
        }
    }
    match Cause::of(error) {
        // Such a TD is bound to a migration TD, and that is what `dcap-qvl` sees first.
        Cause::Configuration if quote.migratable(bytes) => {
            VerificationError::Configuration { reason: MIGRATABLE.to_owned() }
        }
        cause => described(cause, format!("{error:#}"), quote, collateral),
    }
}

/// Which certificate is on a list.
fn revoked(quote: &DcapQuote, collateral: &QuoteCollateralV3) -> VerificationError {
    let [pck, ca, root] = &quote.pck_chain;
    let signer = |text: &str| parse_issuer_chain(text).map(|[signer, _]| signer).unwrap_or_default();
    let tcb = signer(&collateral.tcb_info_issuer_chain);
    let qe = signer(&collateral.qe_identity_issuer_chain);
    for (what, der, crl) in [
        ("the root certificate", root, &collateral.root_ca_crl),
        ("the TCB info signing certificate", &tcb, &collateral.root_ca_crl),
        ("the QE identity signing certificate", &qe, &collateral.root_ca_crl),
        ("the PCK CA certificate", ca, &collateral.root_ca_crl),
        ("the platform's PCK certificate", pck, &collateral.pck_crl),
    ] {
        let (Ok(certificate), Ok((_, crl))) = (x509(der), CertificateRevocationList::from_der(crl)) else {
            continue;
        };
        let serial = certificate.raw_serial();
        let same = |listed: &[u8]| significant(listed) == significant(serial);
        if crl.iter_revoked_certificates().any(|listed| same(listed.raw_serial())) {
            return VerificationError::Revoked { what, serial: hex::encode(serial) };
        }
    }
    VerificationError::Revoked { what: "a certificate of the chain", serial: String::new() }
}

fn significant(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|&&byte| byte == 0).count();
    integer.get(zeros..).unwrap_or_default()
}

fn described(
    cause: Cause,
    reason: String,
    quote: &DcapQuote,
    collateral: &QuoteCollateralV3,
) -> VerificationError {
    match cause {
        Cause::CertificateRevoked => revoked(quote, collateral),
        Cause::TcbRevoked => VerificationError::TcbRevoked { reason },
        Cause::TcbNotMatched => VerificationError::TcbNotMatched { reason },
        Cause::CollateralSignature(what) => {
            VerificationError::CollateralInvalid { what, reason: "its signature does not hold".to_owned() }
        }
        Cause::Collateral(what) => VerificationError::CollateralInvalid { what, reason },
        Cause::Chain => broken_chain(&reason, quote, collateral),
        Cause::Configuration => VerificationError::Configuration { reason },
        Cause::Quote(what) => VerificationError::Invalid { what, reason },
    }
}

/// Which of the three chains does not hold: `dcap-qvl` names none.
fn broken_chain(reason: &str, quote: &DcapQuote, collateral: &QuoteCollateralV3) -> VerificationError {
    let [_, _, root] = &quote.pck_chain;
    for (what, text) in [
        ("TCB info issuer chain", &collateral.tcb_info_issuer_chain),
        ("QE identity issuer chain", &collateral.qe_identity_issuer_chain),
    ] {
        let broken = match parse_issuer_chain(text) {
            Ok([signer, _]) => issued_by(&signer, root).err(),
            Err(reason) => Some(reason),
        };
        if let Some(reason) = broken {
            return VerificationError::CollateralInvalid { what, reason };
        }
    }
    VerificationError::Invalid { what: "PCK certificate chain", reason: reason.to_owned() }
}
