//! Collect, verify and judge what a TEE says about itself.
//!
//! The words are RFC 9334's: an [`attester::Attester`] produces
//! [`evidence::Evidence`]; a [`verifier::Verifier`] turns it into
//! [`claims::Claims`] with the help of collateral; a [`policy::Policy`] says
//! which claims are acceptable.
//!
//! ```
//! use std::sync::Arc;
//!
//! use adytum_evidence::{
//!     clock::SystemClock,
//!     collateral,
//!     policy::Policy,
//!     verifier::{TrustRoot, Verifier},
//! };
//!
//! # async fn verify(evidence: adytum_evidence::evidence::Evidence) -> Result<(), Box<dyn std::error::Error>> {
//! let source = collateral::from_url("http://127.0.0.1:8081")?;
//! let verifier = Verifier::new(vec![TrustRoot::intel()], source, Arc::new(SystemClock));
//! let policy: Policy = serde_json::from_str(
//!     r#"{"vendors": ["intel"], "tee": ["sgx"],
//!         "mr_enclave": ["0101010101010101010101010101010101010101010101010101010101010101"]}"#,
//! )?;
//! let claims = verifier.verify(&evidence).await?;
//! policy.judge(&claims)?;
//! # Ok(())
//! # }
//! ```
//!
//! Readers of untrusted bytes, for fuzzing: [`verifier::parse_dcap`],
//! [`verifier::Verifier::verify_with`] and [`snp::parse_report`] for evidence and
//! collateral, [`unverified::says`], [`ra_tls::RaTlsCertificate::parse`], [`jwt::Token::parse`],
//! [`jwt::TokenKeys::parse`] and [`kbs_evidence::read`] for evidence of others, serde's `Deserialize` of [`policy::Policy`], [`clock::UnixSeconds::parse_rfc3339`].
//!
//! Without the cargo feature `simulation` there is no way to trust any root but
//! a vendor's.

// One module calls Occlum's device: attester/occlum_ioctl.rs.
#![deny(unsafe_code)]

pub mod attester;
mod certificate;
pub mod claims;
pub mod clock;
pub mod collateral;
mod dcap;
mod error;
pub mod evidence;
#[cfg(feature = "collect")]
mod http_get;
pub mod identity;
pub mod jwt;
pub mod kbs_evidence;
pub mod maa;
pub mod measurement;
pub mod policy;
pub mod ra_tls;
mod roots;
mod signature;
pub mod snp;
pub mod trust;
pub mod unverified;
pub mod verifier;
