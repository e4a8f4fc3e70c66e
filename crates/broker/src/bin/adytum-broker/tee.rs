//! The TEE that the flags name, and the collateral for those of others.

use std::sync::Arc;

use adytum_evidence::{
    attester::{self, Attester},
    clock::Clock,
    collateral::{CollateralSource, from_places},
};
use adytum_governance::measured::MeasuredConfiguration;
use anyhow::Context as _;

use crate::arguments::{Arguments, TeeChoice};

/// What the broker attests with, and what it verifies with.
pub(crate) struct Tee {
    pub(crate) attester: Arc<dyn Attester>,
    pub(crate) collateral: Arc<dyn CollateralSource>,
}

/// Opens the TEE. `measured` is what a simulated one learns of this program besides its
/// code. Hardware has measured the code, and the announcement says the rest.
pub(crate) async fn open(
    arguments: &Arguments,
    #[cfg_attr(
        not(feature = "simulation"),
        expect(unused_variables, reason = "hardware measures the program")
    )]
    measured: &MeasuredConfiguration,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Tee> {
    let attester = match &arguments.tee {
        TeeChoice::Hardware(interface) => interface.open()?,
        #[cfg(feature = "simulation")]
        TeeChoice::Simulation(location) => return simulation(location, arguments, measured, clock).await,
    };
    #[cfg(feature = "simulation")]
    anyhow::ensure!(
        arguments.quote_latency.is_zero(),
        "--quote-latency is for --tee simulation=...: hardware takes its own time; leave the flag out"
    );
    let (intel, amd) = (arguments.collateral.as_deref(), arguments.amd_kds.as_deref());
    let collateral = from_places(intel, amd, None, &clock)?.context(
        "no collateral to verify workloads with: give --collateral or PCCS_URL, the URL of a PCCS or a directory; \
         or --amd-kds or AMD_KDS_URL, if they run on SEV-SNP",
    )?;
    Ok(Tee { attester: attester::endorsed(attester, intel, amd)?, collateral })
}

#[cfg(feature = "simulation")]
async fn simulation(
    location: &str,
    arguments: &Arguments,
    measured: &MeasuredConfiguration,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Tee> {
    use adytum_evidence::{collateral::from_url_with_clock, measurement::Sha256Digest};
    use adytum_sim::{Location, Platform, RemoteSimAttester, SimAttester};

    // Most of a simulated start; the rest of the start goes on meanwhile.
    let measuring = tokio::task::spawn_blocking(Sha256Digest::of_this_program);
    let identity = async {
        let program = measuring.await?.context("this program can't be measured")?;
        let identity = measured.identity(program);
        tracing::warn!(%identity, %location, "SIMULATION: nothing here is protected from the host");
        anyhow::Ok(identity)
    };
    // What the flags name, and else what the platform has itself.
    let (intel, amd) = (arguments.collateral.as_deref(), arguments.amd_kds.as_deref());
    let collateral = |own: Arc<dyn CollateralSource>| {
        Ok::<_, anyhow::Error>(from_places(intel, amd, Some(Arc::clone(&own)), &clock)?.unwrap_or(own))
    };
    let latency = arguments.quote_latency;
    Ok(match location.parse()? {
        Location::Service(url) => {
            let identity = identity.await?;
            let connect = || RemoteSimAttester::connect(&url, identity);
            let attester = adytum_sim::when_there(None, connect).await?.quote_latency(latency);
            let collateral = collateral(from_url_with_clock(&url, Arc::clone(&clock))?)?;
            Tee { attester: Arc::new(attester), collateral }
        }
        Location::Directory(directory) => {
            let platform = Platform::open(directory)?;
            let collateral = collateral(Arc::new(platform.collateral_source()))?;
            let attester = SimAttester::new(platform, identity.await?);
            Tee { attester: Arc::new(attester.quote_latency(latency)), collateral }
        }
    })
}
