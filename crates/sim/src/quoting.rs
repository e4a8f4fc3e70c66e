//! The quoting enclave: reports of programs and the quotes over them (Intel SGX
//! ECDSA QuoteLibReference, appendix A: quote version 3).

use adytum_evidence::measurement::{MrEnclave, MrSigner, ReportData, Sha256Digest};
use sha2::{Digest, Sha256};

use crate::{certificates::Chain, error::SimError, hardware::Hardware, keys::SigningKey};

/// The quoting enclave's product id, as Intel's.
pub(crate) const QE_ISV_PROD_ID: u16 = 1;
/// The quoting enclave's security version.
pub(crate) const QE_ISV_SVN: u16 = 8;
/// The quoting enclave's attributes: INIT and PROVISIONKEY.
pub(crate) const QE_ATTRIBUTES: [u8; 16] = {
    let mut attributes = [0; 16];
    attributes[0] = INIT | PROVISIONKEY;
    attributes
};

const INIT: u8 = 0x01;
const DEBUG: u8 = 0x02;
const MODE64BIT: u8 = 0x04;
const PROVISIONKEY: u8 = 0x10;
/// XFRM: x87 and SSE, the least that an enclave has.
const XFRM_LEGACY: u8 = 0x03;

const REPORT_LENGTH: usize = 384;
const HEADER_LENGTH: usize = 48;
const VERSION: u16 = 3;
const ATTESTATION_KEY_ECDSA_P256: u16 = 2;
const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;
const TD_REPORT_LENGTH: usize = 584;
/// Of a TD 1.5, which only quotes of version 5 hold.
const TD_15_REPORT_LENGTH: usize = 648;
const TD_15_REPORT_TYPE: u16 = 3;
const CERTIFICATION_DATA_QE_REPORT: u16 = 6;
/// Where the quoting enclave's report lies in [`QuotingEnclave::tail`]: its signature
/// follows it.
const QE_REPORT: usize = 64;
/// Intel's QE vendor id: verifiers know no other.
const QE_VENDOR: [u8; 16] =
    [0x93, 0x9A, 0x72, 0x33, 0xF7, 0x9C, 0x4C, 0xA9, 0x94, 0x0A, 0x0D, 0xB3, 0x95, 0x7F, 0x06, 0x07];
const CERTIFICATION_DATA_PCK_CHAIN: u16 = 5;

/// Who signed the simulated quoting enclave.
pub(crate) fn qe_signer() -> MrSigner {
    MrSigner(Sha256Digest::of_bytes(b"Adytum SIMULATION quoting enclave signer").0)
}

/// What the simulated CPU says of a program (Intel SDM, REPORT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// MRENCLAVE: here the workload's identity.
    pub mr_enclave: MrEnclave,
    /// The measurement MRSIGNER, 32 bytes.
    pub mr_signer: MrSigner,
    /// The signer's number of the product.
    pub isv_prod_id: u16,
    /// The product's security version.
    pub isv_svn: u16,
    /// The security version of the configuration that it was started with.
    pub config_svn: u16,
    /// Whether a debugger may read it.
    pub debug: bool,
}

struct Report<'a> {
    cpu_svn: [u8; 16],
    attributes: [u8; 16],
    program: &'a Program,
    report_data: ReportData,
}

impl Report<'_> {
    fn to_bytes(&self) -> [u8; REPORT_LENGTH] {
        let mut bytes = [0; REPORT_LENGTH];
        bytes[0..16].copy_from_slice(&self.cpu_svn);
        bytes[48..64].copy_from_slice(&self.attributes);
        bytes[64..96].copy_from_slice(&self.program.mr_enclave.0);
        bytes[128..160].copy_from_slice(&self.program.mr_signer.0);
        bytes[256..258].copy_from_slice(&self.program.isv_prod_id.to_le_bytes());
        bytes[258..260].copy_from_slice(&self.program.isv_svn.to_le_bytes());
        bytes[260..262].copy_from_slice(&self.program.config_svn.to_le_bytes());
        bytes[320..384].copy_from_slice(&self.report_data.0);
        bytes
    }
}

/// Signs quotes. All that is the same in every quote is made once.
pub(crate) struct QuotingEnclave {
    attestation_key: SigningKey,
    header: [u8; HEADER_LENGTH],
    cpu_svn: [u8; 16],
    /// The part after the signature: attestation key, QE report and its signature,
    /// authentication data, PCK chain.
    tail: Vec<u8>,
}

impl QuotingEnclave {
    /// Has the attestation key certified by the PCK.
    pub(crate) fn new(
        attestation_key: SigningKey,
        chain: &Chain,
        hardware: &Hardware,
    ) -> Result<Self, SimError> {
        // Bytes 0x00, 0x01, .. as Intel's quoting enclave has them.
        let authentication_data: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap_or(0));
        let public_key = attestation_key
            .public_point()
            .strip_prefix(&[0x04])
            .ok_or_else(|| SimError::cryptography("certify its attestation key", "a compressed point"))?;

        let mut report_data = ReportData([0; 64]);
        let binding = Sha256::new().chain_update(public_key).chain_update(authentication_data).finalize();
        report_data.0[..32].copy_from_slice(&binding);
        let report = Report {
            cpu_svn: hardware.cpu_svn,
            attributes: QE_ATTRIBUTES,
            program: &Program {
                mr_enclave: MrEnclave(Sha256Digest::of_bytes(b"Adytum SIMULATION quoting enclave").0),
                mr_signer: qe_signer(),
                isv_prod_id: QE_ISV_PROD_ID,
                isv_svn: QE_ISV_SVN,
                config_svn: 0,
                debug: false,
            },
            report_data,
        }
        .to_bytes();

        let mut certificates = chain.pck_chain_pem().into_bytes();
        // Intel's library ends the text with NUL.
        certificates.push(0);
        let length = u32::try_from(certificates.len())
            .map_err(|error| SimError::cryptography("certify its attestation key", error))?;

        let mut tail = Vec::with_capacity(certificates.len() + 600);
        tail.extend_from_slice(public_key);
        tail.extend_from_slice(&report);
        tail.extend_from_slice(&chain.pck.key.sign(&report)?);
        tail.extend_from_slice(&32u16.to_le_bytes());
        tail.extend_from_slice(&authentication_data);
        tail.extend_from_slice(&CERTIFICATION_DATA_PCK_CHAIN.to_le_bytes());
        tail.extend_from_slice(&length.to_le_bytes());
        tail.extend_from_slice(&certificates);

        Ok(Self { attestation_key, header: header(hardware), cpu_svn: hardware.cpu_svn, tail })
    }

    /// A quote over a report of this program.
    pub(crate) fn quote(&self, program: &Program, report_data: ReportData) -> Result<Vec<u8>, SimError> {
        let mut attributes = [0; 16];
        attributes[0] = INIT | MODE64BIT | if program.debug { DEBUG } else { 0 };
        attributes[8] = XFRM_LEGACY;
        let report = Report { cpu_svn: self.cpu_svn, attributes, program, report_data };

        let authentication_length = u32::try_from(64 + self.tail.len())
            .map_err(|error| SimError::cryptography("assemble a quote", error))?;
        let mut quote = Vec::with_capacity(HEADER_LENGTH + REPORT_LENGTH + 4 + 64 + self.tail.len());
        quote.extend_from_slice(&self.header);
        quote.extend_from_slice(&report.to_bytes());
        let signature = self.attestation_key.sign(&quote)?;
        quote.extend_from_slice(&authentication_length.to_le_bytes());
        quote.extend_from_slice(&signature);
        quote.extend_from_slice(&self.tail);
        Ok(quote)
    }

    /// A quote over a report of any content: see
    /// [`crate::Platform::crafted_quote`].
    pub(crate) fn crafted(
        &self,
        report: &[u8],
        change: impl FnOnce(&mut [u8]),
        pck: &SigningKey,
    ) -> Result<Vec<u8>, SimError> {
        let failed = |reason| SimError::cryptography("assemble a quote", reason);
        let (version, tee, report_type): (u16, u32, Option<u16>) = match report.len() {
            REPORT_LENGTH => (VERSION, TEE_SGX, None),
            TD_REPORT_LENGTH => (4, TEE_TDX, None),
            TD_15_REPORT_LENGTH => (5, TEE_TDX, Some(TD_15_REPORT_TYPE)),
            _ => return Err(failed("a report of unknown length")),
        };
        let mut tail = self.tail.clone();
        let (own, signature) = tail[QE_REPORT..QE_REPORT + REPORT_LENGTH + 64].split_at_mut(REPORT_LENGTH);
        change(own);
        signature.copy_from_slice(&pck.sign(own)?);
        if version > VERSION {
            // There the quoting enclave's report is certification data of its own.
            let (key, rest) = tail.split_at(QE_REPORT);
            let length = u32::try_from(rest.len()).map_err(|_| failed("it is too long"))?;
            let kind = CERTIFICATION_DATA_QE_REPORT.to_le_bytes();
            tail = [key, &kind, &length.to_le_bytes(), rest].concat();
        }

        let mut quote = self.header.to_vec();
        quote[0..2].copy_from_slice(&version.to_le_bytes());
        quote[4..8].copy_from_slice(&tee.to_le_bytes());
        if let Some(kind) = report_type {
            let length = u32::try_from(report.len()).map_err(|_| failed("it is too long"))?;
            quote.extend_from_slice(&kind.to_le_bytes());
            quote.extend_from_slice(&length.to_le_bytes());
        }
        quote.extend_from_slice(report);
        let signature = self.attestation_key.sign(&quote)?;
        let length = u32::try_from(signature.len() + tail.len()).map_err(|_| failed("it is too long"))?;
        quote.extend_from_slice(&length.to_le_bytes());
        quote.extend_from_slice(&signature);
        quote.extend_from_slice(&tail);
        Ok(quote)
    }
}

fn header(hardware: &Hardware) -> [u8; HEADER_LENGTH] {
    let mut header = [0; HEADER_LENGTH];
    header[0..2].copy_from_slice(&VERSION.to_le_bytes());
    header[2..4].copy_from_slice(&ATTESTATION_KEY_ECDSA_P256.to_le_bytes());
    header[4..8].copy_from_slice(&TEE_SGX.to_le_bytes());
    header[8..10].copy_from_slice(&QE_ISV_SVN.to_le_bytes());
    header[10..12].copy_from_slice(&hardware.pce_svn.to_le_bytes());
    header[12..28].copy_from_slice(&QE_VENDOR);
    // User data: the first 16 bytes are the quoting enclave's id of the machine.
    header[28..44].copy_from_slice(&hardware.ppid);
    header
}
