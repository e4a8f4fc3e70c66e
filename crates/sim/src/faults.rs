//! Faults that a simulated platform has on purpose, for tests, and the evaluations that its
//! vendor publishes of it.

use adytum_evidence::clock::Day;
use serde::{Deserialize, Serialize};

/// What TCB information says of a platform (Intel's names), "revoked" included:
/// unlike [`adytum_evidence::claims::TcbStatus`] this is what a signer publishes,
/// not what a verifier accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "Intel's own names")]
pub enum PublishedTcbStatus {
    #[default]
    UpToDate,
    SWHardeningNeeded,
    ConfigurationNeeded,
    ConfigurationAndSWHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    Revoked,
}

impl PublishedTcbStatus {
    /// Is there a newer TCB level than the platform's?
    pub(crate) fn superseded(self) -> bool {
        matches!(self, Self::OutOfDate | Self::OutOfDateConfigurationNeeded | Self::Revoked)
    }

    pub(crate) fn advisories(self) -> &'static [&'static str] {
        if self == Self::UpToDate { &[] } else { &["ADYTUM-SIMULATION-00001"] }
    }
}

/// Faults that a platform has on purpose. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// The PCK certificate is on the PCK CA's revocation list.
    pub pck_revoked: bool,
    /// The PCK CA is on the root's revocation list.
    pub pck_ca_revoked: bool,
    /// The platform's level in the TCB information.
    pub tcb_status: PublishedTcbStatus,
    /// The quoting enclave's level in its identity. Intel publishes no
    /// `SWHardeningNeeded` for it, so verifiers refuse that.
    pub qe_status: PublishedTcbStatus,
    /// All collateral expired thirty days ago, and is not renewed.
    pub collateral_expired: bool,
    /// The number of the evaluation that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<u32>,
    /// The next evaluation, published and not applied yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early: Option<EarlyEvaluation>,
}

/// An evaluation that is published and does not count yet, as Intel does in a TCB recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyEvaluation {
    pub number: u32,
    /// The platform's level in it.
    pub tcb_status: PublishedTcbStatus,
    /// When what it is about was disclosed.
    pub disclosed: Day,
}

impl Faults {
    /// Adds the fault of this name: `pck-revoked`, `pck-ca-revoked`,
    /// `collateral-expired`, `tcb=STATUS` or `qe=STATUS` with Intel's names of
    /// statuses; `evaluation=NUMBER` and `early=NUMBER:STATUS:DAY` for the evaluations that
    /// are published; `none` takes all away. The error says what was expected.
    pub fn with(self, name: &str) -> Result<Self, String> {
        let status = |text: &str| {
            serde_json::from_value(serde_json::Value::from(text)).map_err(|_| {
                format!("expected a status such as UpToDate, OutOfDate or Revoked, found {text:?}")
            })
        };
        let number = |text: &str| {
            text.parse().map_err(|_| format!("expected the number of an evaluation, found {text:?}"))
        };
        Ok(match name.split_once('=') {
            None if name == "none" => Self::default(),
            None if name == "pck-revoked" => Self { pck_revoked: true, ..self },
            None if name == "pck-ca-revoked" => Self { pck_ca_revoked: true, ..self },
            None if name == "collateral-expired" => Self { collateral_expired: true, ..self },
            Some(("tcb", text)) => Self { tcb_status: status(text)?, ..self },
            Some(("qe", text)) => Self { qe_status: status(text)?, ..self },
            Some(("evaluation", text)) => Self { evaluation: Some(number(text)?), ..self },
            Some(("early", text)) => {
                let mut parts = text.split(':');
                let (Some(evaluation), Some(published), Some(day), None) =
                    (parts.next(), parts.next(), parts.next(), parts.next())
                else {
                    return Err(format!("expected NUMBER:STATUS:DAY, found {text:?}"));
                };
                let early = EarlyEvaluation {
                    number: number(evaluation)?,
                    tcb_status: status(published)?,
                    disclosed: day
                        .parse()
                        .map_err(|error: adytum_evidence::clock::DayError| error.to_string())?,
                };
                Self { early: Some(early), ..self }
            }
            _ => {
                return Err(format!(
                    "expected none, pck-revoked, pck-ca-revoked, collateral-expired, tcb=STATUS, qe=STATUS, \
                     evaluation=NUMBER or early=NUMBER:STATUS:DAY, found {name:?}"
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names() {
        let all = [
            "pck-revoked",
            "pck-ca-revoked",
            "collateral-expired",
            "tcb=OutOfDate",
            "qe=Revoked",
            "evaluation=18",
            "early=19:OutOfDate:2026-11-29",
        ];
        let faults = all.iter().try_fold(Faults::default(), |faults, name| faults.with(name)).unwrap();
        let expected = Faults {
            pck_revoked: true,
            pck_ca_revoked: true,
            collateral_expired: true,
            tcb_status: PublishedTcbStatus::OutOfDate,
            qe_status: PublishedTcbStatus::Revoked,
            evaluation: Some(18),
            early: Some(EarlyEvaluation {
                number: 19,
                tcb_status: PublishedTcbStatus::OutOfDate,
                disclosed: "2026-11-29".parse().unwrap(),
            }),
        };
        assert_eq!(faults, expected);
        assert_eq!(faults.with("none"), Ok(Faults::default()));
        for bad in [
            "",
            "revoked",
            "tcb",
            "tcb=",
            "tcb=uptodate",
            "ca=Revoked",
            "pck-revoked=1",
            "early=19",
            "early=19:OutOfDate",
            "evaluation=x",
        ] {
            assert!(faults.with(bad).is_err(), "{bad}");
        }
    }
}
