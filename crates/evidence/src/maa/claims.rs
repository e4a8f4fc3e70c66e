//! The claims of Azure Attestation in our form. (Microsoft, "Azure Attestation claim sets";
//! "Azure Attestation EAT profile for Intel TDX".)

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    claims::{
        Claims, EnclaveConfiguration, Measured, Platform, SnpEndorsement, SnpGuestClaims, TcbStatus,
        TdConfiguration, report_data_of_token,
    },
    error::MaaError,
    measurement::{
        ConfigId, FeatureMask, HostData, MrEnclave, MrSigner, ReportData, RootKeyId, SnpGuestPolicy,
        SnpKeyDigest, SnpMeasurement, SnpPlatformInfo, SnpTcb, TdxMeasurement,
    },
    trust::Vendor,
};

const KIND: &str = "x-ms-attestation-type";
/// As the first version of the service had it.
const OLD_KIND: &str = "tee";

/// Reads the claims of a token whose signature was verified with this key.
pub(super) fn of(payload: &Map<String, Value>, key: RootKeyId) -> Result<Claims, MaaError> {
    let claims = Reader(payload);
    let kind = claims.text(KIND).or_else(|| claims.text(OLD_KIND)).unwrap_or_default();
    let (measured, debug, report_data) = match kind {
        "sgx" => sgx(claims)?,
        "tdxvm" => tdx(claims)?,
        "sevsnpvm" => snp(claims)?,
        other => return Err(MaaError::Kind { found: other.chars().take(40).collect() }),
    };
    let tdx = kind == "tdxvm";
    Ok(Claims {
        vendor: Vendor::Azure,
        root_key_id: key,
        debug,
        tcb_status: if tdx { Some(claims.tcb_status()?) } else { None },
        advisory_ids: if tdx { claims.advisories()? } else { BTreeSet::new() },
        platform: Platform { id: String::new(), fmspc: None, sgx: None },
        report_data,
        measured,
        collateral: None,
        announced: None,
    })
}

type Read = (Measured, bool, ReportData);

fn sgx(claims: Reader<'_>) -> Result<Read, MaaError> {
    let config_id = claims.optional("x-ms-sgx-config-id", |bytes| ConfigId::try_from(bytes).ok())?;
    let measured = Measured::Sgx {
        mr_enclave: claims
            .hex(["x-ms-sgx-mrenclave", "sgx-mrenclave"], |bytes| MrEnclave::try_from(bytes).ok())?,
        mr_signer: claims
            .hex(["x-ms-sgx-mrsigner", "sgx-mrsigner"], |bytes| MrSigner::try_from(bytes).ok())?,
        isv_prod_id: claims.number(["x-ms-sgx-product-id", "product-id"])?,
        isv_svn: claims.number(["x-ms-sgx-svn", "svn"])?,
        config_svn: claims.number_or(0, "x-ms-sgx-config-svn")?,
        enclave: EnclaveConfiguration {
            config_id: config_id.unwrap_or(ConfigId([0; 64])),
            ..Default::default()
        },
    };
    let debug = claims.flag(["x-ms-sgx-is-debuggable", "is-debuggable"])?;
    let report_data =
        match claims.optional("x-ms-sgx-report-data", |bytes| ReportData::try_from(bytes).ok())? {
            Some(report_data) => report_data,
            // Older tokens have the data that the enclave held in place of their digest.
            None => claims.held_data()?,
        };
    Ok((measured, debug, report_data))
}

fn tdx(claims: Reader<'_>) -> Result<Read, MaaError> {
    let register = |name| claims.hex([name, name], |bytes| TdxMeasurement::try_from(bytes).ok());
    let mask = |name| claims.hex([name, name], feature_mask);
    let attributes = mask("tdx_td_attributes")?;
    let measured = Measured::Tdx {
        mr_td: register("tdx_mrtd")?,
        mr_config_id: register("tdx_mrconfigid")?,
        rtmr: [
            register("tdx_rtmr0")?,
            register("tdx_rtmr1")?,
            register("tdx_rtmr2")?,
            register("tdx_rtmr3")?,
        ],
        td: TdConfiguration { attributes, xfam: mask("tdx_xfam")? },
    };
    // Bits 7 to 0 are the group "TD under debug" (Intel TDX Module ABI Specification).
    let debug = claims.flag(["tdx_td_attributes_debug"; 2])? || attributes.0 & 0xff != 0;
    // Bit 29: the TD may be migrated.
    if attributes.0 & (1 << 29) != 0 {
        return Err(MaaError::Migration);
    }
    let report_data = claims.hex(["tdx_report_data"; 2], |bytes| ReportData::try_from(bytes).ok())?;
    Ok((measured, debug, report_data))
}

/// Quotes have masks with the least significant byte first, and the service prints their bytes.
fn feature_mask(bytes: &[u8]) -> Option<FeatureMask> {
    bytes.try_into().ok().map(u64::from_le_bytes).map(FeatureMask)
}

fn snp(claims: Reader<'_>) -> Result<Read, MaaError> {
    if claims.flag(["x-ms-sevsnpvm-migration-allowed"; 2])? {
        return Err(MaaError::Migration);
    }
    let level = |name| claims.number([name, name]);
    let digest = |name: &'static str| -> Result<_, MaaError> {
        let read = claims.optional(name, |bytes| SnpKeyDigest::try_from(bytes).ok())?;
        Ok(read.filter(|digest| !digest.is_zero()))
    };
    let measured = Measured::Snp {
        measurement: claims
            .hex(["x-ms-sevsnpvm-launchmeasurement"; 2], |bytes| SnpMeasurement::try_from(bytes).ok())?,
        host_data: claims.hex(["x-ms-sevsnpvm-hostdata"; 2], |bytes| HostData::try_from(bytes).ok())?,
        vmpl: claims.number(["x-ms-sevsnpvm-vmpl"; 2])?,
        tcb: SnpTcb {
            fmc: None,
            bootloader: level("x-ms-sevsnpvm-bootloader-svn")?,
            tee: level("x-ms-sevsnpvm-tee-svn")?,
            snp: level("x-ms-sevsnpvm-snpfw-svn")?,
            microcode: level("x-ms-sevsnpvm-microcode-svn")?,
        },
        guest: SnpGuestClaims {
            // The service takes reports that the chip's own key has signed.
            endorsement: SnpEndorsement::Vcek,
            // It says nothing of these, so rules about them fail.
            platform: SnpPlatformInfo::default(),
            policy: SnpGuestPolicy {
                smt: claims.flag(["x-ms-sevsnpvm-smt-allowed"; 2])?,
                ..Default::default()
            },
            guest_svn: claims.number(["x-ms-sevsnpvm-guestsvn"; 2])?,
            id_key_digest: digest("x-ms-sevsnpvm-idkeydigest")?,
            author_key_digest: digest("x-ms-sevsnpvm-authorkeydigest")?,
        },
    };
    let debug = claims.flag(["x-ms-sevsnpvm-is-debuggable"; 2])?;
    let report_data =
        claims.hex(["x-ms-sevsnpvm-reportdata"; 2], |bytes| ReportData::try_from(bytes).ok())?;
    Ok((measured, debug, report_data))
}

/// Reads claims. A claim has up to two names: of today, and of the service's first version.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a Map<String, Value>);

impl<'a> Reader<'a> {
    fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn either(self, names: [&'static str; 2]) -> Option<&'a Value> {
        names.into_iter().find_map(|name| self.0.get(name))
    }

    fn hex<T>(self, names: [&'static str; 2], read: impl Fn(&[u8]) -> Option<T>) -> Result<T, MaaError> {
        self.either(names)
            .and_then(Value::as_str)
            .and_then(|text| hex::decode(text).ok())
            .and_then(|bytes| read(&bytes))
            .ok_or(MaaError::Claim {
                name: names[0],
                expected: "hexadecimal digits, as many as its bytes need",
            })
    }

    fn optional<T>(
        self,
        name: &'static str,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, MaaError> {
        if self.0.contains_key(name) { self.hex([name; 2], read).map(Some) } else { Ok(None) }
    }

    fn number<T: TryFrom<u64>>(self, names: [&'static str; 2]) -> Result<T, MaaError> {
        self.either(names)
            .and_then(Value::as_u64)
            .and_then(|number| T::try_from(number).ok())
            .ok_or(MaaError::Claim { name: names[0], expected: "a number in the range of its field" })
    }

    fn number_or<T: TryFrom<u64>>(self, otherwise: T, name: &'static str) -> Result<T, MaaError> {
        if self.0.contains_key(name) { self.number([name; 2]) } else { Ok(otherwise) }
    }

    fn flag(self, names: [&'static str; 2]) -> Result<bool, MaaError> {
        let flag = self.either(names).and_then(Value::as_bool);
        flag.ok_or(MaaError::Claim { name: names[0], expected: "true or false" })
    }

    fn tcb_status(self) -> Result<TcbStatus, MaaError> {
        const NAME: &str = "attester_tcb_status";
        self.text(NAME)
            .and_then(|text| text.parse().ok())
            .ok_or(MaaError::Claim { name: NAME, expected: "a TCB status of Intel's" })
    }

    fn advisories(self) -> Result<BTreeSet<String>, MaaError> {
        const NAME: &str = "attester_advisory_ids";
        let malformed = MaaError::Claim { name: NAME, expected: "a list of Intel's advisories" };
        match self.0.get(NAME) {
            None | Some(Value::Null) => Ok(BTreeSet::new()),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| malformed.clone()))
                .collect(),
            Some(_) => Err(malformed),
        }
    }

    /// The report data of an enclave by the data that it held: the service has compared their
    /// digest with the evidence.
    fn held_data(self) -> Result<ReportData, MaaError> {
        let held = ["x-ms-sgx-ehd", "maa-ehd", "aas-ehd"].into_iter().find_map(|name| self.text(name));
        let held = held.and_then(|text| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok());
        let held = held.ok_or(MaaError::Claim {
            name: "x-ms-sgx-report-data",
            expected: "report data, or the data that the enclave held (x-ms-sgx-ehd)",
        })?;
        Ok(report_data_of_token(&held))
    }
}
