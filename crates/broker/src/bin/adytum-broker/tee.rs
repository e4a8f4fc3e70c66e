//! The TEE that the flags name, and the collateral for those of others.

use std::sync::Arc;

use adytum_broker::measured::MeasuredConfiguration;
use adytum_evidence::{
    attester::{self, Attester, GRAMINE_DIRECTORY, Gramine, OCCLUM_DEVICE, Occlum, TSM_DIRECTORY, Tsm},
    clock::Clock,
    collateral::{CollateralSource, from_places},
};
use anyhow::Context as _;

use crate::arguments::{Arguments, TeeChoice};

/// What the broker attests with, and what it verifies with.
pub(crate) struct Tee {
    pub(crate) attester: Arc<dyn Attester>,
    pub(crate) collateral: Arc<dyn CollateralSource>,
}

/// Opens the TEE. `measured` is what a simulated one is told of this program;
/// hardware has measured it itself.
pub(crate) async fn open(
    arguments: &Arguments,
    #[cfg_attr(not(feature = "simulation"), expect(unused_variables, reason = "hardware measures"))]
    measured: &MeasuredConfiguration,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Tee> {
    let attester: Arc<dyn Attester> = match &arguments.tee {
        TeeChoice::Auto => attester::detect()?,
        TeeChoice::Occlum => Arc::new(Occlum::open(OCCLUM_DEVICE)?),
        TeeChoice::Gramine => Arc::new(Gramine::open(GRAMINE_DIRECTORY)?),
        TeeChoice::Tsm => Arc::new(Tsm::open(TSM_DIRECTORY)?),
        #[cfg(feature = "simulation")]
        TeeChoice::Simulation(location) => return simulation(location, arguments, measured, clock).await,
    };
    #[cfg(feature = "simulation")]
    anyhow::ensure!(
        arguments.quote_latency.is_zero(),
        "--quote-latency is for --tee simulation=...: hardware takes its own time"
    );
    let collateral = named_collateral(arguments, clock)?.context(
        "no collateral to verify workloads with: give --collateral or PCCS_URL, the URL of a PCCS or a directory; \
         or --amd-kds or AMD_KDS_URL, if they run on SEV-SNP",
    )?;
    let (intel, amd) = (arguments.collateral.as_deref(), arguments.amd_kds.as_deref());
    Ok(Tee { attester: attester::endorsed(attester, intel, amd)?, collateral })
}

fn named_collateral(
    arguments: &Arguments,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Option<Arc<dyn CollateralSource>>> {
    Ok(from_places(arguments.collateral.as_deref(), arguments.amd_kds.as_deref(), &clock)?)
}

#[cfg(feature = "simulation")]
async fn simulation(
    location: &str,
    arguments: &Arguments,
    measured: &MeasuredConfiguration,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Tee> {
    use adytum_evidence::measurement::Sha256Digest;
    use adytum_sim::{Location, Platform, RemoteSimAttester, SimAttester};

    // Most of a simulated start, and most of that is waited for beside the rest.
    let measuring = tokio::task::spawn_blocking(Sha256Digest::of_this_program);
    let identity = async {
        let program = measuring.await?.context("this program can't be measured")?;
        let identity = measured.identity(program);
        tracing::warn!(%identity, %location, "SIMULATION: nothing here is protected from the host");
        anyhow::Ok(identity)
    };
    let named = named_collateral(arguments, clock.clone())?;
    let latency = arguments.quote_latency;
    Ok(match location.parse()? {
        Location::Service(url) => {
            let identity = identity.await?;
            let connect = || RemoteSimAttester::connect(&url, identity);
            let attester = adytum_sim::when_there(None, connect).await?.quote_latency(latency);
            let collateral = match named {
                Some(named) => named,
                None => adytum_evidence::collateral::from_url_with_clock(&url, clock)?,
            };
            Tee { attester: Arc::new(attester), collateral }
        }
        Location::Directory(directory) => {
            let platform = Platform::open(directory)?;
            let collateral = named.unwrap_or_else(|| Arc::new(platform.collateral_source()));
            let attester = SimAttester::new(platform, identity.await?);
            Tee { attester: Arc::new(attester.quote_latency(latency)), collateral }
        }
    })
}
