//! From text to a manifest that holds together.

mod places;
mod roles;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};

use adytum_api::names::{ModelName, WorkloadName};
use adytum_evidence::trust::Vendor;

use self::places::{Places, Section};
use super::{
    FORMAT, MAXIMUM_LENGTH, MAXIMUM_SECRETS, MAXIMUM_WORKLOADS, Manifest, ManifestError, TcbGrace, Trust,
    Workload, azure,
    document::{Document, TrustTable, WorkloadTable},
    error::Place,
    recovery, roots,
};
use crate::roles::Owners;

pub(super) fn check(text: &str) -> Result<Manifest, ManifestError> {
    if text.len() > MAXIMUM_LENGTH {
        return Err(ManifestError::TooLong { found: text.len() });
    }
    let document: Document =
        toml::from_str(text).map_err(|error| ManifestError::Syntax { reason: error.to_string() })?;
    if document.format != FORMAT {
        return Err(ManifestError::Format { found: document.format });
    }
    if document.version == 0 {
        return Err(ManifestError::VersionZero);
    }
    for (section, found, limit) in [
        ("workload", document.workloads.len(), MAXIMUM_WORKLOADS),
        ("secret", document.secrets.len(), MAXIMUM_SECRETS),
        ("model", document.models.len(), MAXIMUM_WORKLOADS),
    ] {
        if found > limit {
            return Err(ManifestError::TooMany { section, found, limit });
        }
    }
    let places = Places { text };
    let trust = trust(&places, document.trust)?;
    let models = models(&places, document.models)?;
    let workloads = workloads(&places, document.workloads, &trust, &models)?;
    let roles = document.owners.map(|table| roles::roles(&places, table)).transpose()?;
    let threshold = roles.as_ref().and_then(|roles| roles.owners.as_ref()).map(Owners::threshold);
    if let (Some(number), Some(threshold)) = (document.restart.confirm_by, threshold)
        && number.get() >= threshold
    {
        return Err(ManifestError::WithoutEffect {
            place: places.of_table("restart", "confirm_by"),
            reason: format!(
                "{number} owner(s) are no fewer than the {threshold} who must agree anyway; remove it"
            ),
        });
    }
    let lease = secrets::leases(&places, document.leases)?;
    let (secrets, other_names) = secrets::secrets(&places, document.secrets, &workloads, lease)?;
    let loadable = |name: &&ModelName| workloads.values().any(|workload| workload.models.contains(*name));
    if let Some(name) = models.keys().find(|name| !loadable(name)) {
        return Err(ManifestError::WithoutEffect {
            place: places.of(Section::Model, name.as_str(), "name"),
            reason: "no workload may load it; name it in the `models` of one, or remove it".to_owned(),
        });
    }
    Ok(Manifest {
        genesis: document.genesis,
        version: document.version,
        trust,
        roles,
        lease,
        workloads,
        secrets,
        other_names,
        models,
        unplanned_restart: document.restart.unplanned,
        planned_restart: document.restart.planned,
        confirm_by: document.restart.confirm_by,
        recovery: document.recovery.map(recovery::rule).transpose()?,
    })
}

fn trust(places: &Places<'_>, table: TrustTable) -> Result<Trust, ManifestError> {
    let place = |field| places.of_table("trust", field);
    let vendors = distinct(table.vendors, || place("vendors"))?;
    if vendors.is_empty() {
        return Err(ManifestError::WithoutEffect {
            place: place("vendors"),
            reason: "no vendor is trusted, so no workload could ever attest".to_owned(),
        });
    }
    let root = |reason: String| ManifestError::Root { place: place("simulation_roots"), reason };
    match (vendors.contains(&Vendor::Simulation), table.simulation_roots.is_empty()) {
        (true, true) => {
            return Err(root(
                "`vendors` names simulation, so the root certificate of the platform must be here".to_owned(),
            ));
        }
        (false, false) => {
            return Err(root(
                "there is a root of a simulated platform, but `vendors` does not name simulation".to_owned(),
            ));
        }
        _ => {}
    }
    let mut simulation_roots = Vec::new();
    for text in table.simulation_roots {
        let der = roots::root_from_pem(&text).map_err(root)?;
        if simulation_roots.contains(&der) {
            return Err(root("one certificate stands there twice".to_owned()));
        }
        simulation_roots.push(der);
    }
    let azure = azure::services(&vendors, table.azure)
        .map_err(|reason| ManifestError::AzureService { place: place("azure"), reason })?;
    Ok(Trust { vendors, simulation_roots, azure })
}

type Models = BTreeMap<ModelName, adytum_sealed::rule::ModelRule>;

fn models(places: &Places<'_>, rules: Vec<adytum_sealed::rule::ModelRule>) -> Result<Models, ManifestError> {
    let mut models = Models::new();
    for rule in rules {
        if rule.signers.is_empty() && rule.digests.is_empty() {
            return Err(ManifestError::WithoutEffect {
                place: places.of(Section::Model, rule.name.as_str(), "signers"),
                reason: "neither a signer nor a digest is listed, so nothing could be loaded".to_owned(),
            });
        }
        if let Some(former) = models.insert(rule.name.clone(), rule) {
            return Err(duplicate(places, Section::Model, former.name.as_str()));
        }
    }
    Ok(models)
}

fn workloads(
    places: &Places<'_>,
    tables: Vec<WorkloadTable>,
    trust: &Trust,
    models: &Models,
) -> Result<BTreeMap<WorkloadName, Workload>, ManifestError> {
    let mut workloads = BTreeMap::new();
    for WorkloadTable { name, models: may_load, policy, tcb_grace } in tables {
        let place = |field| places.of(Section::Workload, name.as_str(), field);
        let may_load = distinct(may_load, || place("models"))?;
        if let Some(unknown) = may_load.iter().find(|model| !models.contains_key(*model)) {
            return Err(ManifestError::Dangling {
                place: place("models"),
                kind: "[[model]]",
                name: unknown.to_string(),
            });
        }
        if let Some(vendor) = policy.vendors.difference(&trust.vendors).next() {
            return Err(ManifestError::Dangling {
                place: place("policy.vendors"),
                kind: "vendor in [trust]",
                name: vendor.to_string(),
            });
        }
        if workloads.contains_key(&name) {
            return Err(duplicate(places, Section::Workload, name.as_str()));
        }
        let tcb_grace = tcb_grace
            .map(|table| TcbGrace::new(&table, &policy))
            .transpose()
            .map_err(|(field, reason)| ManifestError::Value { place: place(field), reason })?;
        workloads.insert(name, Workload { policy, models: may_load, tcb_grace });
    }
    Ok(workloads)
}

fn distinct<T: Ord + ToString>(
    items: Vec<T>,
    place: impl Fn() -> Place,
) -> Result<BTreeSet<T>, ManifestError> {
    let mut set = BTreeSet::new();
    for item in items {
        if set.contains(&item) {
            return Err(ManifestError::Duplicate { place: place(), name: item.to_string() });
        }
        set.insert(item);
    }
    Ok(set)
}

fn duplicate(places: &Places<'_>, section: Section, name: &str) -> ManifestError {
    ManifestError::Duplicate { place: places.of(section, name, "name"), name: name.to_owned() }
}
