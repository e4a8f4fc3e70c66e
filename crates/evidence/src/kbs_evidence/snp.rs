//! A SEV-SNP report as JSON fields, as the crate `sev` writes it: back to the bytes that the
//! firmware signed (AMD 56860, table "ATTESTATION_REPORT Structure"). A field that is wrong or
//! missing makes other bytes, and their signature does not hold.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    evidence::SNP_REPORT_LENGTH,
    snp::{SnpProduct, SnpReport},
};

/// The fields. Reserved ones are there in older versions of the crate only, and zero in newer
/// ones.
#[derive(Debug, Deserialize)]
pub(super) struct ReportFields {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: Vec<u8>,
    image_id: Vec<u8>,
    vmpl: u32,
    sig_algo: u32,
    current_tcb: Tcb,
    plat_info: u64,
    #[serde(alias = "_author_key_en")]
    key_info: u32,
    #[serde(default, rename = "_reserved_0")]
    reserved_0: u32,
    report_data: Vec<u8>,
    measurement: Vec<u8>,
    host_data: Vec<u8>,
    id_key_digest: Vec<u8>,
    author_key_digest: Vec<u8>,
    report_id: Vec<u8>,
    report_id_ma: Vec<u8>,
    reported_tcb: Tcb,
    /// Until version 2 of reports, where the family of the processor is now.
    #[serde(default, rename = "_reserved_1")]
    reserved_1: Option<Vec<u8>>,
    #[serde(default)]
    cpuid_fam_id: Option<u8>,
    #[serde(default)]
    cpuid_mod_id: Option<u8>,
    #[serde(default)]
    cpuid_step: Option<u8>,
    chip_id: Vec<u8>,
    committed_tcb: Tcb,
    #[serde(flatten)]
    versions: Versions,
    launch_tcb: Tcb,
    #[serde(default, rename = "_reserved_4")]
    reserved_4: Option<Vec<u8>>,
    #[serde(default)]
    launch_mit_vector: Option<u64>,
    #[serde(default)]
    current_mit_vector: Option<u64>,
    signature: Signature,
}

/// The versions of the firmware, each build, minor and major.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Versions {
    /// As newer versions of the crate have them.
    Grouped { current: Version, committed: Version },
    /// As older versions have them.
    Single {
        current_build: u8,
        current_minor: u8,
        current_major: u8,
        committed_build: u8,
        committed_minor: u8,
        committed_major: u8,
    },
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Version {
    major: u8,
    minor: u8,
    build: u8,
}

/// A TCB version. Only processors of the family Turin have `fmc`.
#[derive(Debug, Deserialize)]
struct Tcb {
    #[serde(default)]
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    #[serde(default, rename = "_reserved")]
    reserved: Option<[u8; 4]>,
    snp: u8,
    microcode: u8,
}

impl Tcb {
    fn bytes(&self) -> [u8; 8] {
        let Self { fmc, bootloader, tee, snp, microcode, .. } = *self;
        match fmc {
            Some(fmc) => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
            None => {
                let [a, b, c, d] = self.reserved.unwrap_or_default();
                [bootloader, tee, a, b, c, d, snp, microcode]
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Signature {
    r: Vec<u8>,
    s: Vec<u8>,
}

/// The fields of a report, as newer versions of the crate have them.
pub(super) fn fields(report: &SnpReport, bytes: &[u8]) -> Value {
    let at = |offset: usize, length: usize| bytes.get(offset..offset + length).unwrap_or_default();
    let number = |offset: usize, length: usize| {
        at(offset, length).iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let tcb = |offset: usize| match report.product {
        Some(SnpProduct::Turin) => json!({
            "fmc": number(offset, 1), "bootloader": number(offset + 1, 1), "tee": number(offset + 2, 1),
            "snp": number(offset + 3, 1), "microcode": number(offset + 7, 1),
        }),
        _ => json!({
            "fmc": null, "bootloader": number(offset, 1), "tee": number(offset + 1, 1),
            "snp": number(offset + 6, 1), "microcode": number(offset + 7, 1),
        }),
    };
    let version = |offset: usize| {
        json!({
            "major": number(offset + 2, 1), "minor": number(offset + 1, 1), "build": number(offset, 1),
        })
    };
    // Older reports have nothing in these places.
    let since = |first: u32, value: u64| if report.version >= first { json!(value) } else { Value::Null };
    json!({
        "version": report.version, "guest_svn": report.guest_svn, "policy": report.policy,
        "family_id": at(0x10, 16), "image_id": at(0x20, 16), "vmpl": report.vmpl,
        "sig_algo": number(0x34, 4), "current_tcb": tcb(0x38), "plat_info": report.platform_info,
        "key_info": number(0x48, 4), "report_data": at(0x50, 64), "measurement": at(0x90, 48),
        "host_data": at(0xc0, 32), "id_key_digest": at(0xe0, 48), "author_key_digest": at(0x110, 48),
        "report_id": at(0x140, 32), "report_id_ma": at(0x160, 32), "reported_tcb": tcb(0x180),
        "cpuid_fam_id": since(3, number(0x188, 1)), "cpuid_mod_id": since(3, number(0x189, 1)),
        "cpuid_step": since(3, number(0x18a, 1)), "chip_id": at(0x1a0, 64), "committed_tcb": tcb(0x1e0),
        "current": version(0x1e8), "committed": version(0x1ec), "launch_tcb": tcb(0x1f0),
        "launch_mit_vector": since(5, number(0x1f8, 8)), "current_mit_vector": since(5, number(0x200, 8)),
        "signature": { "r": at(0x2a0, 72), "s": at(0x2e8, 72) },
    })
}

/// A report that is being put together.
struct Builder(Vec<u8>);

impl Builder {
    /// A field of this length.
    fn put(&mut self, name: &str, bytes: &[u8], length: usize) -> Result<(), String> {
        if bytes.len() != length {
            return Err(format!("expected {length} bytes in {name:?}, found {}", bytes.len()));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros_until(&mut self, offset: usize) {
        self.0.resize(offset.max(self.0.len()), 0);
    }
}

impl ReportFields {
    /// The bytes of the report, or which field has another length.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut report = Builder(Vec::with_capacity(SNP_REPORT_LENGTH));
        report.0.extend(self.version.to_le_bytes());
        report.0.extend(self.guest_svn.to_le_bytes());
        report.0.extend(self.policy.to_le_bytes());
        report.put("family_id", &self.family_id, 16)?;
        report.put("image_id", &self.image_id, 16)?;
        report.0.extend(self.vmpl.to_le_bytes());
        report.0.extend(self.sig_algo.to_le_bytes());
        report.0.extend(self.current_tcb.bytes());
        report.0.extend(self.plat_info.to_le_bytes());
        report.0.extend(self.key_info.to_le_bytes());
        report.0.extend(self.reserved_0.to_le_bytes());
        report.put("report_data", &self.report_data, 64)?;
        report.put("measurement", &self.measurement, 48)?;
        report.put("host_data", &self.host_data, 32)?;
        report.put("id_key_digest", &self.id_key_digest, 48)?;
        report.put("author_key_digest", &self.author_key_digest, 48)?;
        report.put("report_id", &self.report_id, 32)?;
        report.put("report_id_ma", &self.report_id_ma, 32)?;
        report.0.extend(self.reported_tcb.bytes());
        match &self.reserved_1 {
            Some(reserved) => report.put("_reserved_1", reserved, 24)?,
            None => {
                let processor = [self.cpuid_fam_id, self.cpuid_mod_id, self.cpuid_step];
                report.0.extend(processor.map(Option::unwrap_or_default));
                report.zeros_until(0x1a0);
            }
        }
        report.put("chip_id", &self.chip_id, 64)?;
        report.0.extend(self.committed_tcb.bytes());
        for Version { major, minor, build } in self.versions.both() {
            report.0.extend([build, minor, major, 0]);
        }
        report.0.extend(self.launch_tcb.bytes());
        match &self.reserved_4 {
            Some(reserved) => report.put("_reserved_4", reserved, 168)?,
            None => {
                for vector in [self.launch_mit_vector, self.current_mit_vector] {
                    report.0.extend(vector.unwrap_or_default().to_le_bytes());
                }
                report.zeros_until(0x2a0);
            }
        }
        report.put("signature.r", &self.signature.r, 72)?;
        report.put("signature.s", &self.signature.s, 72)?;
        report.zeros_until(SNP_REPORT_LENGTH);
        Ok(report.0)
    }
}

impl Versions {
    fn both(&self) -> [Version; 2] {
        match *self {
            Self::Grouped { current, committed } => [current, committed],
            Self::Single {
                current_build,
                current_minor,
                current_major,
                committed_build,
                committed_minor,
                committed_major,
            } => [
                Version { major: current_major, minor: current_minor, build: current_build },
                Version { major: committed_major, minor: committed_minor, build: committed_build },
            ],
        }
    }
}
