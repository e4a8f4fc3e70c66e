//! What the simulated machine is, and how its PCK certificate says so.

use adytum_evidence::{collateral::PckCa, measurement::Fmspc};
use serde::{Deserialize, Serialize};

use crate::error::SimError;

/// The machine that is imitated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hardware {
    pub(crate) fmspc: Fmspc,
    /// Which CA certifies its PCK.
    pub(crate) ca: CaKind,
    /// The CPU package's id, 16 bytes.
    #[serde(with = "hex::serde")]
    pub(crate) ppid: [u8; 16],
    /// The security version of microcode and firmware, by component.
    #[serde(with = "hex::serde")]
    pub(crate) cpu_svn: [u8; 16],
    /// The security version of the provisioning certification enclave.
    pub(crate) pce_svn: u16,
}

/// [`PckCa`] with a text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CaKind {
    /// Single-package machines.
    Processor,
    /// Multi-package machines.
    Platform,
}

impl CaKind {
    /// As Intel's URLs and our file names write it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        }
    }
}

impl From<PckCa> for CaKind {
    fn from(ca: PckCa) -> Self {
        match ca {
            PckCa::Processor => Self::Processor,
            PckCa::Platform => Self::Platform,
        }
    }
}

impl From<CaKind> for PckCa {
    fn from(ca: CaKind) -> Self {
        match ca {
            CaKind::Processor => Self::Processor,
            CaKind::Platform => Self::Platform,
        }
    }
}

/// The family of a simulated machine unless another is asked for: "SIM".
pub(crate) const DEFAULT_FMSPC: Fmspc = Fmspc([b'S', b'I', b'M', 0, 0, 0]);

impl Hardware {
    /// A machine with a random PPID.
    pub(crate) fn new(fmspc: Fmspc, ca: CaKind) -> Result<Self, SimError> {
        let mut ppid = [0; 16];
        aws_lc_rs::rand::fill(&mut ppid).map_err(|error| SimError::cryptography("draw a PPID", error))?;
        Ok(Self { fmspc, ca, ppid, cpu_svn: [5, 5, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0], pce_svn: 13 })
    }

    /// The value of the PCK certificate's SGX extension, in DER (Intel, "SGX PCK
    /// Certificate and Certificate Revocation List Profile", section 1.3.5).
    pub(crate) fn sgx_extension(&self) -> Vec<u8> {
        let mut tcb = Vec::new();
        for (component, svn) in (1..=16).zip(self.cpu_svn) {
            tcb.extend(entry(&[2, component], &unsigned_integer(u16::from(svn))));
        }
        tcb.extend(entry(&[2, 17], &unsigned_integer(self.pce_svn)));
        tcb.extend(entry(&[2, 18], &element(OCTET_STRING, &self.cpu_svn)));

        let mut fields = Vec::new();
        fields.extend(entry(&[1], &element(OCTET_STRING, &self.ppid)));
        fields.extend(entry(&[2], &element(SEQUENCE, &tcb)));
        fields.extend(entry(&[3], &element(OCTET_STRING, &PCE_ID)));
        fields.extend(entry(&[4], &element(OCTET_STRING, &self.fmspc.0)));
        fields.extend(entry(&[5], &element(ENUMERATED, &[STANDARD_SGX])));
        if self.ca == CaKind::Platform {
            // Multi-package machines also say which platform instance they are
            // and how it was configured: not dynamic, keys not cached, no SMT.
            let mut configuration = Vec::new();
            for flag in 1..=3 {
                configuration.extend(entry(&[7, flag], &element(BOOLEAN, &[0])));
            }
            fields.extend(entry(&[6], &element(OCTET_STRING, &self.ppid)));
            fields.extend(entry(&[7], &element(SEQUENCE, &configuration)));
        }
        element(SEQUENCE, &fields)
    }
}

/// 1.2.840.113741.1.13.1
pub(crate) const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];
const SGX_EXTENSION_DER: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// The provisioning certification enclave's id.
pub(crate) const PCE_ID: [u8; 2] = [0, 0];
const STANDARD_SGX: u8 = 0;

// ASN.1 tags (X.690).
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;

/// SEQUENCE { the SGX extension's OID with `suffix` appended, value }.
fn entry(suffix: &[u8], value: &[u8]) -> Vec<u8> {
    // Every suffix is below 128, so an arc is one byte.
    let mut content = element(OBJECT_IDENTIFIER, &[&SGX_EXTENSION_DER, suffix].concat());
    content.extend_from_slice(value);
    element(SEQUENCE, &content)
}

/// An ASN.1 element in DER; content up to 65535 bytes, which all of ours is.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let mut der = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    der.extend_from_slice(content);
    der
}

fn unsigned_integer(value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    match (high, low) {
        (0, 0..=0x7f) => element(INTEGER, &[low]),
        // A leading zero keeps the number positive.
        (0, _) => element(INTEGER, &[0, low]),
        (0x01..=0x7f, _) => element(INTEGER, &[high, low]),
        _ => element(INTEGER, &[0, high, low]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_integers_are_der() {
        assert_eq!(element(OCTET_STRING, &[0; 127])[..3], [4, 127, 0]);
        assert_eq!(element(OCTET_STRING, &[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(element(OCTET_STRING, &[0; 256])[..4], [4, 0x82, 1, 0]);
        assert_eq!(unsigned_integer(13), [2, 1, 13]);
        assert_eq!(unsigned_integer(255), [2, 2, 0, 255]);
        assert_eq!(unsigned_integer(0x0100), [2, 2, 1, 0]);
        assert_eq!(unsigned_integer(0x8000), [2, 3, 0, 0x80, 0]);
    }

    #[test]
    fn every_machine_is_another() {
        let one = Hardware::new(DEFAULT_FMSPC, CaKind::Processor).unwrap();
        let other = Hardware::new(DEFAULT_FMSPC, CaKind::Processor).unwrap();
        assert_ne!(one.ppid, other.ppid);
    }
}
