//! `[[sealed]]`: where the host gives sealed secrets of Confidential Containers, and which secrets they
//! may point to.

use std::collections::BTreeMap;

use adytum_api::{names::SecretName, resource::ResourcePath};
use adytum_evidence::jwt::TokenKeys;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    AbsolutePath, ConfigurationError, Owner, ReloadSignal, SecretDestination, SecretRule, error::invalid,
};
use crate::environment::{EnvironmentRules, VariableName};

/// The most places that a configuration may name, and resources in each.
const MAXIMUM_ENTRIES: usize = 32;

/// All places of sealed secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SealedRules {
    /// The host gives the sealed secret in the variable, and the program finds its value there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<VariableName, PointerRule>,
    /// The host gives the sealed secret in a file, and the program finds its value at the path.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<AbsolutePath, SealedFileRule>,
}

/// A file of the host with a sealed secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SealedFileRule {
    /// Where the host gives the sealed secret.
    pub file: AbsolutePath,
    /// Whose the program's file is; init's own by default.
    pub owner: Owner,
    /// What the program is sent after a renewal.
    pub reload_signal: Option<ReloadSignal>,
    #[serde(flatten)]
    pub pointer: PointerRule,
}

/// What a sealed secret may point to, and who signs it. Without signers there is one resource: the host would
/// choose among more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PointerRule {
    pub resources: BTreeMap<ResourcePath, SecretName>,
    /// The keys, by the names that headers give them (`kid`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub signers: BTreeMap<String, SignerKey>,
}

/// A public key on P-256, as a JWK has it (RFC 7518, section 6.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerKey {
    x: String,
    y: String,
}

impl SealedRules {
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.files.is_empty()
    }

    /// May a sealed secret point to this secret?
    pub(super) fn names(&self, secret: &SecretName) -> bool {
        let pointers = self.variables.values().chain(self.files.values().map(|file| &file.pointer));
        pointers.flat_map(|pointer| pointer.resources.values()).any(|name| name == secret)
    }
}

impl PointerRule {
    /// The keys that may sign; `None` if nobody has to.
    pub(crate) fn keys(&self) -> Option<TokenKeys> {
        // Parsing has read them before.
        (!self.signers.is_empty()).then(|| keys(&self.signers).ok()).flatten()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealedTable {
    variable: Option<VariableName>,
    file: Option<AbsolutePath>,
    path: Option<AbsolutePath>,
    user: Option<u32>,
    group: Option<u32>,
    reload_signal: Option<ReloadSignal>,
    resources: BTreeMap<ResourcePath, SecretName>,
    #[serde(default)]
    signers: BTreeMap<String, SignerKey>,
}

pub(super) fn rules(
    tables: Vec<SealedTable>,
    environment: &EnvironmentRules,
    secrets: &BTreeMap<SecretName, SecretRule>,
) -> Result<SealedRules, ConfigurationError> {
    if tables.len() > MAXIMUM_ENTRIES {
        return Err(invalid("sealed", format!("at most {MAXIMUM_ENTRIES} places may be named")));
    }
    let mut rules = SealedRules::default();
    for table in tables {
        let owner = Owner { user: table.user, group: table.group };
        let of_file = owner != Owner::default() || table.reload_signal.is_some();
        match (table.variable, table.file, table.path) {
            (Some(_), None, None) if of_file => {
                return Err(invalid("sealed", "user, group and reload_signal go with file and path"));
            }
            (Some(variable), None, None) => {
                let field = format!("sealed {variable}");
                if environment.allow.contains(&variable) || environment.set.contains_key(&variable) {
                    return Err(invalid(field, "[environment] has the variable as well; remove it there"));
                }
                let pointer = pointer(&field, table.resources, table.signers, secrets)?;
                if rules.variables.insert(variable, pointer).is_some() {
                    return Err(invalid(field, "it is listed twice"));
                }
            }
            (None, Some(file), Some(path)) => {
                let field = format!("sealed {path}");
                let pointer = pointer(&field, table.resources, table.signers, secrets)?;
                let place = SecretDestination::File(path.clone());
                if let Some((other, _)) = secrets.iter().find(|(_, rule)| rule.places().contains(&place)) {
                    return Err(invalid(field, format!("the secret {other} has the same path")));
                }
                let rule = SealedFileRule { file, owner, reload_signal: table.reload_signal, pointer };
                if rules.files.insert(path, rule).is_some() {
                    return Err(invalid(field, "it is listed twice"));
                }
            }
            _ => return Err(invalid("sealed", "give either variable, or file and path")),
        }
    }
    Ok(rules)
}

fn pointer(
    field: &str,
    resources: BTreeMap<ResourcePath, SecretName>,
    signers: BTreeMap<String, SignerKey>,
    secrets: &BTreeMap<SecretName, SecretRule>,
) -> Result<PointerRule, ConfigurationError> {
    if resources.is_empty() || resources.len() > MAXIMUM_ENTRIES {
        return Err(invalid(field, format!("1 to {MAXIMUM_ENTRIES} resources may be named")));
    }
    if let Some(missing) = resources.values().find(|name| !secrets.contains_key(*name)) {
        return Err(invalid(field, format!("no [[secret]] is named {missing}; correct the name or add it")));
    }
    if signers.is_empty() && resources.len() > 1 {
        return Err(invalid(
            field,
            "without signers the host would choose among the resources; name one, or the signers",
        ));
    }
    if !signers.is_empty() {
        keys(&signers).map_err(|reason| invalid(field, reason))?;
    }
    Ok(PointerRule { resources, signers })
}

/// The keys of all signers, or why one can't be used.
fn keys(signers: &BTreeMap<String, SignerKey>) -> Result<TokenKeys, String> {
    let jwk = |(kid, SignerKey { x, y }): (&String, &SignerKey)| json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y });
    for signer in signers {
        let one = TokenKeys::parse(json!({ "keys": [jwk(signer)] }).to_string().as_bytes());
        if !one.map_err(|error| error.to_string())?.verify_anything() {
            return Err(format!("signer {:?}: x and y are no public key on P-256 in base64url", signer.0));
        }
    }
    let all: Vec<_> = signers.iter().map(jwk).collect();
    TokenKeys::parse(json!({ "keys": all }).to_string().as_bytes()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::MeasuredConfiguration;
    use crate::fixture::minimal;

    /// The generator of P-256 (SEC 2, 2.4.2): a public key.
    const POINT: &str = "{ x = \"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\", y = \"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\" }";

    fn parse(sealed: &str) -> Result<MeasuredConfiguration, String> {
        let text = format!(
            "{}[environment]\nallow = [\"TZ\"]\n[[secret]]\nname = \"key\"\n[[secret]]\nname = \"file\"\npath = \"/run/a\"\n{sealed}",
            minimal()
        );
        MeasuredConfiguration::parse(&text).map_err(|error| error.to_string())
    }

    fn entry(place: &str, rest: &str) -> String {
        format!("[[sealed]]\n{place}\nresources = {{ \"a/b/c\" = \"key\" }}\n{rest}\n")
    }

    #[test]
    fn places_and_signers_are_measured() {
        let none = parse("").unwrap();
        assert!(none.sealed().is_empty());
        assert!(!String::from_utf8(none.canonical()).unwrap().contains("sealed"));
        let variable = entry("variable = \"PASSWORD\"", "");
        let signed = entry("variable = \"PASSWORD\"", &format!("signers = {{ owner = {POINT} }}"));
        let file = entry("file = \"/mnt/x\"\npath = \"/run/x\"", "user = 7\nreload_signal = \"HUP\"");
        let digests: std::collections::BTreeSet<_> =
            ["", &variable, &signed, &file, &(file.clone() + &variable)]
                .map(|text| parse(text).unwrap().digest().to_string())
                .into();
        assert_eq!(digests.len(), 5);
        assert_eq!(parse(&(file.clone() + &variable)).unwrap(), parse(&(variable + &file)).unwrap());
        let read = parse(&file).unwrap();
        assert!(read.is_for_init(&"key".parse().unwrap()) && !read.is_for_init(&"file".parse().unwrap()));
        assert!(!String::from_utf8(read.canonical()).unwrap().contains("variables"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let two = "[[sealed]]\nvariable = \"P\"\nresources = { \"a/b/c\" = \"key\", \"a/b/d\" = \"key\" }\n";
        let variable = "variable = \"P\"";
        for (sealed, says) in [
            (two.to_owned(), "the host would choose"),
            (two.replace("key", "other"), "no [[secret]] is named other"),
            ("[[sealed]]\nvariable = \"P\"\nresources = {}\n".to_owned(), "1 to 32 resources"),
            (entry("", ""), "either variable, or file and path"),
            (entry("file = \"/mnt/x\"", ""), "either variable, or file and path"),
            (entry("variable = \"P\"\npath = \"/x\"", ""), "either variable, or file and path"),
            (entry(variable, "user = 1"), "go with file and path"),
            (entry(variable, "reload_signal = \"HUP\""), "go with file and path"),
            (entry("variable = \"TZ\"", ""), "[environment] has the variable"),
            (entry("variable = \"LD_PRELOAD\"", ""), "loader"),
            (entry(variable, "").repeat(2), "listed twice"),
            (entry("file = \"/mnt/x\"\npath = \"/run/x\"", "").repeat(2), "listed twice"),
            (entry("file = \"/mnt/x\"\npath = \"/run/a\"", ""), "the secret file has the same path"),
            (entry(variable, "signers = { owner = { x = \"AA\", y = \"AA\" } }"), "no public key on P-256"),
            ((0..33).map(|n| entry(&format!("variable = \"P{n}\""), "")).collect(), "at most 32 places"),
        ] {
            let error = parse(&sealed).unwrap_err();
            assert!(error.contains(says), "{sealed}: {error}");
        }
    }
}
