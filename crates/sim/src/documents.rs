//! The two JSON documents that Intel signs, TCB Info v3 and QE Identity v2
//! (Intel PCS API v4), with the fields in Intel's order.

use adytum_evidence::clock::Day;
use serde::Serialize;

use crate::{
    certificates::Validity,
    dates::rfc3339,
    faults::{EarlyEvaluation, Faults, PublishedTcbStatus},
    hardware::{Hardware, PCE_ID},
    quoting,
};

/// The number of the set of evaluations that both documents belong to, if nothing else is
/// asked for.
const EVALUATION_DATA_NUMBER: u32 = 17;
/// The level that a fault-free simulated platform is at.
const CURRENT_LEVEL_DATE: &str = "2024-03-13T00:00:00Z";
/// The level above it, which only platforms that are out of date know of.
const NEWER_LEVEL_DATE: &str = "2024-11-13T00:00:00Z";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbInfo {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: String,
    tcb_type: u32,
    tcb_evaluation_data_number: u32,
    tcb_levels: Vec<TcbLevel>,
}

/// Which of the vendor's evaluations a document is of.
#[derive(Clone, Copy)]
pub(crate) struct Evaluation {
    number: u32,
    /// When what it is about was disclosed.
    disclosed: Option<Day>,
}

impl Evaluation {
    /// The one that counts.
    pub(crate) fn standard(faults: &Faults) -> Self {
        Self { number: faults.evaluation.unwrap_or(EVALUATION_DATA_NUMBER), disclosed: None }
    }

    /// The next one.
    pub(crate) fn early(early: &EarlyEvaluation) -> Self {
        Self { number: early.number, disclosed: Some(early.disclosed) }
    }

    /// Since when its best level counts.
    fn newer_level_date(self) -> String {
        self.disclosed.map_or_else(|| NEWER_LEVEL_DATE.to_owned(), |day| day.start().to_string())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TcbLevel {
    tcb: Tcb,
    tcb_date: String,
    tcb_status: PublishedTcbStatus,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "<[_]>::is_empty")]
    advisory_ids: &'static [&'static str],
}

#[derive(Serialize)]
struct Tcb {
    sgxtcbcomponents: Vec<Component>,
    pcesvn: u16,
}

#[derive(Serialize)]
struct Component {
    svn: u8,
}

impl TcbInfo {
    pub(crate) fn new(
        hardware: &Hardware,
        status: PublishedTcbStatus,
        validity: Validity,
        evaluation: Evaluation,
    ) -> Self {
        let level = |raised: u8, tcb_date: String, tcb_status: PublishedTcbStatus| TcbLevel {
            tcb: Tcb {
                sgxtcbcomponents: hardware
                    .cpu_svn
                    .iter()
                    .enumerate()
                    .map(|(component, svn)| Component {
                        // Microcode is component 0.
                        svn: if component == 0 { svn.saturating_add(raised) } else { *svn },
                    })
                    .collect(),
                pcesvn: hardware.pce_svn,
            },
            tcb_date,
            tcb_status,
            advisory_ids: tcb_status.advisories(),
        };
        let mut tcb_levels = Vec::new();
        if status.superseded() {
            tcb_levels.push(level(1, evaluation.newer_level_date(), PublishedTcbStatus::UpToDate));
        }
        tcb_levels.push(level(0, CURRENT_LEVEL_DATE.to_owned(), status));
        Self {
            id: "SGX",
            version: 3,
            issue_date: rfc3339(validity.issued),
            next_update: rfc3339(validity.next_update),
            fmspc: hex::encode_upper(hardware.fmspc.0),
            pce_id: hex::encode_upper(PCE_ID),
            tcb_type: 0,
            tcb_evaluation_data_number: evaluation.number,
            tcb_levels,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QeIdentity {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: &'static str,
    miscselect_mask: &'static str,
    attributes: String,
    attributes_mask: &'static str,
    mrsigner: String,
    isvprodid: u16,
    tcb_levels: Vec<QeLevel>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QeLevel {
    tcb: QeTcb,
    tcb_date: &'static str,
    tcb_status: PublishedTcbStatus,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "<[_]>::is_empty")]
    advisory_ids: &'static [&'static str],
}

#[derive(Serialize)]
struct QeTcb {
    isvsvn: u16,
}

impl QeIdentity {
    pub(crate) fn new(status: PublishedTcbStatus, validity: Validity, evaluation: Evaluation) -> Self {
        let level = |raised, tcb_date, tcb_status: PublishedTcbStatus| QeLevel {
            tcb: QeTcb { isvsvn: quoting::QE_ISV_SVN + raised },
            tcb_date,
            tcb_status,
            advisory_ids: tcb_status.advisories(),
        };
        let mut tcb_levels = Vec::new();
        if status.superseded() {
            tcb_levels.push(level(1, NEWER_LEVEL_DATE, PublishedTcbStatus::UpToDate));
        }
        tcb_levels.push(level(0, CURRENT_LEVEL_DATE, status));
        Self {
            id: "QE",
            version: 2,
            issue_date: rfc3339(validity.issued),
            next_update: rfc3339(validity.next_update),
            tcb_evaluation_data_number: evaluation.number,
            miscselect: "00000000",
            miscselect_mask: "FFFFFFFF",
            attributes: hex::encode_upper(quoting::QE_ATTRIBUTES),
            // Every flag but MODE64BIT; of XFRM nothing.
            attributes_mask: "FBFFFFFFFFFFFFFF0000000000000000",
            mrsigner: hex::encode_upper(quoting::qe_signer().0),
            isvprodid: quoting::QE_ISV_PROD_ID,
            tcb_levels,
        }
    }
}
