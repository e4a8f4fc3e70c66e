//! What evidence says, for people.

use adytum_evidence::{
    claims::{Claims, Measured, SnpEndorsement},
    clock::Day,
    trust::Vendor,
};

use crate::output;

/// Says so if the evidence is of a simulated platform.
pub(crate) fn warn_of_simulation(claims: &Claims) -> anyhow::Result<()> {
    match claims.vendor {
        Vendor::Simulation => output::line("WARNING      the platform is simulated and protects nothing"),
        _ => Ok(()),
    }
}

fn signer(endorsement: &SnpEndorsement) -> String {
    match endorsement {
        SnpEndorsement::Vcek => "the chip's own key (VCEK)".to_owned(),
        SnpEndorsement::Vlek { csp_id } => {
            format!("a key of {csp_id} (VLEK): the chip id is only the report's word")
        }
    }
}

fn aliases(checked: bool) -> &'static str {
    match checked {
        true => "checked for aliases",
        false => "not checked for aliases: open to BadRAM",
    }
}

/// What evidence says, for people.
pub(crate) fn described(claims: &Claims) -> Vec<(&'static str, String)> {
    let mut lines = vec![("platform", format!("{} {}", claims.vendor, claims.platform.id))];
    match &claims.measured {
        Measured::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, .. } => lines.extend([
            ("mr_enclave", mr_enclave.to_string()),
            ("mr_signer", mr_signer.to_string()),
            ("product", format!("{isv_prod_id}, security version {isv_svn}")),
        ]),
        Measured::Tdx { mr_td, mr_config_id, rtmr, td } => {
            lines.extend([("mr_td", mr_td.to_string()), ("mr_config_id", mr_config_id.to_string())]);
            lines.extend(
                ["rtmr 0", "rtmr 1", "rtmr 2", "rtmr 3"].into_iter().zip(rtmr.map(|value| value.to_string())),
            );
            lines.push(("attributes", format!("{}, xfam {}", td.attributes, td.xfam)));
        }
        Measured::Snp { measurement, host_data, vmpl, tcb, guest } => lines.extend([
            ("measurement", measurement.to_string()),
            ("host_data", host_data.to_string()),
            ("vmpl", vmpl.to_string()),
            ("firmware", tcb.to_string()),
            ("signed by", signer(&guest.endorsement)),
            ("memory", aliases(guest.platform.alias_check_complete).to_owned()),
        ]),
    }
    let advisories = match claims.advisory_ids.len() {
        0 => String::new(),
        _ => format!(" ({})", claims.advisory_ids.iter().cloned().collect::<Vec<_>>().join(", ")),
    };
    if let Some(status) = claims.tcb_status {
        lines.push(("tcb", format!("{status}{advisories}")));
    }
    if let Some(collateral) = claims.collateral {
        let number = collateral.tcb_evaluation_data_number;
        let evaluation = number.map_or(String::new(), |number| format!(", evaluation {number}"));
        lines.push(("collateral", format!("issued {}{evaluation}", Day::of(collateral.issued))));
    }
    lines.push(("debug", if claims.debug { "on: a debugger reads everything" } else { "off" }.to_owned()));
    lines
}
