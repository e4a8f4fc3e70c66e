//! The report's form (AMD 56860, table ATTESTATION_REPORT).

use super::product::SnpProduct;
use crate::{
    error::VerificationError,
    evidence::SNP_REPORT_LENGTH as REPORT_LENGTH,
    measurement::{
        Endorser, HostData, ReportData, SnpGuestPolicy, SnpKeyDigest, SnpMeasurement, SnpPlatformInfo, SnpTcb,
    },
};

/// What the signature covers.
const SIGNED: usize = 0x2a0;
/// ECDSA on P-384 with SHA-384 (table SIGNATURE_ALGO).
const ECDSA_P384_SHA384: u32 = 1;
/// Each number of the signature: its length in the report, and what P-384 needs.
const NUMBER: usize = 72;
const P384: usize = 48;
const SUPPORTED: &str =
    "SEV-SNP reports of version 2 to 5, signed by a VCEK or a VLEK (ECDSA P-384 with SHA-384)";

/// A report taken apart; nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpReport {
    pub version: u32,
    /// What the guest's owner allows the host (table POLICY).
    pub policy: u64,
    /// The guest's security version, of its ID block; 0 without one.
    pub guest_svn: u32,
    /// How the platform is configured (table PLATFORM_INFO).
    pub platform_info: u64,
    /// Of the key that signed the guest's ID block; none where it has no ID block.
    pub id_key_digest: Option<SnpKeyDigest>,
    /// Of the key that signed that key; none where nobody did (AUTHOR_KEY_EN).
    pub author_key_digest: Option<SnpKeyDigest>,
    /// The privilege level of who asked for it; 0 is the guest's own kernel, 2^32 - 1
    /// the host.
    pub vmpl: u32,
    pub endorser: Endorser,
    /// What the guest bound into it.
    pub report_data: ReportData,
    pub measurement: SnpMeasurement,
    /// What the host gave at launch.
    pub host_data: HostData,
    /// The chip; zeros where the host hides it.
    pub chip_id: [u8; 64],
    /// The processor, which versions before 3 do not tell.
    pub product: Option<SnpProduct>,
    /// TCB_VERSIONs, to be read by [`SnpTcb::read`]: of the firmware that runs; the
    /// one that the signing key is derived from; and the one at the guest's launch.
    pub current_tcb: [u8; 8],
    /// See `current_tcb`.
    pub reported_tcb: [u8; 8],
    /// See `current_tcb`.
    pub launch_tcb: [u8; 8],
    /// r and s, each 48 bytes, the most significant first.
    pub signature: [u8; 2 * P384],
}

impl SnpReport {
    /// A debugger of the host may read the guest.
    pub fn debug(&self) -> bool {
        self.policy & (1 << 19) != 0
    }

    /// The guest may be taken to another machine by an agent of the host.
    pub fn migration(&self) -> bool {
        self.policy & (1 << 18) != 0
    }

    /// What the guest's owner allows the host, besides debug and migration.
    pub fn guest_policy(&self) -> SnpGuestPolicy {
        SnpGuestPolicy::read(self.policy)
    }

    /// How the platform is configured.
    pub fn platform(&self) -> SnpPlatformInfo {
        SnpPlatformInfo::read(self.platform_info)
    }

    /// Of each level the lowest that the report names: the host may have launched the
    /// guest under older firmware than now runs, or may run older than it reports.
    pub fn tcb(&self, product: SnpProduct) -> SnpTcb {
        let read = |bytes| SnpTcb::read(product, bytes);
        read(self.current_tcb).lowest(read(self.reported_tcb)).lowest(read(self.launch_tcb))
    }

    /// The part of `bytes`, the report that this was taken from, that is signed.
    pub(crate) fn signed(bytes: &[u8]) -> &[u8] {
        bytes.get(..SIGNED).unwrap_or_default()
    }
}

/// Takes a report apart.
pub fn parse_report(bytes: &[u8]) -> Result<SnpReport, VerificationError> {
    let malformed = |reason: String| VerificationError::Malformed { what: "SEV-SNP report", reason };
    let unsupported = |found: String| VerificationError::Unsupported { found, supported: SUPPORTED };
    let Ok(report) = <&[u8; REPORT_LENGTH]>::try_from(bytes) else {
        return Err(malformed(format!("expected {REPORT_LENGTH} bytes, found {}", bytes.len())));
    };
    let version = u32::from_le_bytes(field(report, 0));
    if !(2..=5).contains(&version) {
        return Err(unsupported(format!("a SEV-SNP report of version {version}")));
    }
    let algorithm = u32::from_le_bytes(field(report, 0x34));
    if algorithm != ECDSA_P384_SHA384 {
        return Err(unsupported(format!("signature algorithm {algorithm}")));
    }
    let keys = u32::from_le_bytes(field(report, 0x48));
    if keys & 2 != 0 {
        return Err(unsupported("a report that the host had left unsigned (MASK_CHIP_KEY)".to_owned()));
    }
    let endorser = match keys >> 2 & 7 {
        0 => Endorser::Vcek,
        1 => Endorser::Vlek,
        other => return Err(unsupported(format!("signing key {other}"))),
    };
    let (r, s, rest): ([u8; NUMBER], [u8; NUMBER], [u8; REPORT_LENGTH - SIGNED - 2 * NUMBER]) =
        (field(report, SIGNED), field(report, SIGNED + NUMBER), field(report, SIGNED + 2 * NUMBER));
    // So that no byte of accepted evidence is without meaning.
    if rest.iter().chain(&r[P384..]).chain(&s[P384..]).any(|&byte| byte != 0) {
        return Err(malformed("its signature is padded with something other than zeros".to_owned()));
    }
    let mut signature = [0; 2 * P384];
    for (to, from) in signature.iter_mut().zip(r[..P384].iter().rev().chain(s[..P384].iter().rev())) {
        *to = *from;
    }
    let product = if version < 3 {
        None
    } else {
        SnpProduct::from_cpuid(field::<1>(report, 0x188)[0], field::<1>(report, 0x189)[0])
    };
    let digest = |at| Some(SnpKeyDigest(field(report, at))).filter(|digest| !digest.is_zero());
    let author_signed = keys & 1 != 0;
    Ok(SnpReport {
        version,
        guest_svn: u32::from_le_bytes(field(report, 0x04)),
        platform_info: u64::from_le_bytes(field(report, 0x40)),
        id_key_digest: digest(0xe0),
        author_key_digest: digest(0x110).filter(|_| author_signed),
        policy: u64::from_le_bytes(field(report, 0x08)),
        vmpl: u32::from_le_bytes(field(report, 0x30)),
        endorser,
        report_data: ReportData(field(report, 0x50)),
        measurement: SnpMeasurement(field(report, 0x90)),
        host_data: HostData(field(report, 0xc0)),
        chip_id: field(report, 0x1a0),
        product,
        current_tcb: field(report, 0x38),
        reported_tcb: field(report, 0x180),
        launch_tcb: field(report, 0x1f0),
        signature,
    })
}

/// The bytes of a field, which lies within the report.
fn field<const LENGTH: usize>(report: &[u8; REPORT_LENGTH], at: usize) -> [u8; LENGTH] {
    let mut field = [0; LENGTH];
    field.copy_from_slice(&report[at..at + LENGTH]);
    field
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report() -> Vec<u8> {
        let mut report = vec![0; REPORT_LENGTH];
        report[0] = 3;
        report[0x34] = 1;
        report[0x188..0x18a].copy_from_slice(&[0x19, 0xa0]);
        report
    }

    fn with(at: usize, value: u8) -> Vec<u8> {
        let mut report = report();
        report[at] = value;
        report
    }

    #[test]
    fn fields_lie_where_amd_says() {
        let mut bytes = report();
        for (at, length, value) in [
            (0x30, 1, 2),
            (0x50, 64, 3),
            (0x90, 48, 4),
            (0xc0, 32, 5),
            (0x1a0, 64, 6),
            (0x38, 8, 9),
            (0x180, 8, 8),
            (0x1f0, 8, 7),
            (0x04, 1, 12),
            (0x40, 1, 1 << 5),
            (0xe0, 48, 13),
            (0x110, 48, 14),
        ] {
            bytes[at..at + length].fill(value);
        }
        bytes[0x0a] = 0b1111;
        bytes[SIGNED] = 10;
        bytes[SIGNED + NUMBER] = 11;
        let read = parse_report(&bytes).unwrap();
        assert_eq!((read.version, read.vmpl, read.endorser), (3, 2, Endorser::Vcek));
        assert_eq!(read.product, Some(SnpProduct::Genoa));
        assert_eq!((read.report_data, read.measurement), (ReportData([3; 64]), SnpMeasurement([4; 48])));
        assert_eq!((read.host_data, read.chip_id), (HostData([5; 32]), [6; 64]));
        assert_eq!(read.tcb(SnpProduct::Genoa).to_string(), "bootloader 7, tee 7, snp 7, microcode 7");
        assert!(read.debug() && read.migration());
        assert!(read.platform().alias_check_complete && read.guest_policy().smt);
        assert_eq!((read.guest_svn, read.id_key_digest), (12, Some(SnpKeyDigest([13; 48]))));
        assert_eq!(read.author_key_digest, None, "nobody says that there is an author's key");
        bytes[0x48] = 1;
        assert_eq!(parse_report(&bytes).unwrap().author_key_digest, Some(SnpKeyDigest([14; 48])));
        assert_eq!((read.signature[47], read.signature[95]), (10, 11));
    }

    #[test]
    fn what_is_no_such_report_is_refused_by_name() {
        for (bytes, code) in [
            (Vec::new(), "evidence-malformed"),
            (report()[1..].to_vec(), "evidence-malformed"),
            ([report(), vec![0]].concat(), "evidence-malformed"),
            (with(0, 1), "evidence-unsupported"),
            (with(0, 6), "evidence-unsupported"),
            (with(0x34, 2), "evidence-unsupported"),
            (with(0x48, 2), "evidence-unsupported"),
            (with(0x48, 7 << 2), "evidence-unsupported"),
            (with(SIGNED + P384, 1), "evidence-malformed"),
            (with(SIGNED + NUMBER + P384, 1), "evidence-malformed"),
            (with(REPORT_LENGTH - 1, 1), "evidence-malformed"),
        ] {
            assert_eq!(parse_report(&bytes).unwrap_err().code(), code);
        }
        assert_eq!(parse_report(&with(0x48, 1 << 2)).unwrap().endorser, Endorser::Vlek);
        assert_eq!(parse_report(&with(0, 2)).unwrap().product, None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), REPORT_LENGTH)) {
            let _ = parse_report(&bytes);
        }
    }
}
