//! The lists of operators in `docs/models.md`, from the registry and from the rules of rten.

use std::{collections::BTreeMap, fs, path::Path};

/// Operators that the planner makes of nested graphs.
const CONTROL: [&str; 4] = ["If", "Loop", "Scan", "SequenceMap"];

const START: &str = "<!-- operators -->\n";
const END: &str = "<!-- /operators -->\n";

/// The names that the rules of rten speak of.
fn rules(engine: &Path) -> Result<String, String> {
    let directory = engine.join("src/island/rules");
    let entries = fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut text = String::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        text += &fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(text)
}

/// The page with its lists as the sources of the crate in `engine` say.
pub fn page(engine: &Path, page: &str) -> Result<String, String> {
    let rules = rules(engine)?;
    let by_rten = |name: &str| rules.contains(&format!("\"{name}\""));
    let mut domains: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    let control = CONTROL.iter().map(|name| ("", *name));
    for (domain, name) in adytum_engine::operators::known().chain(control) {
        let (both, own) = domains.entry(domain).or_default();
        let has_rules = matches!(domain, "" | "com.microsoft") && by_rten(name);
        if has_rules { both.push(name) } else { own.push(name) }
    }
    let mut lists = String::new();
    for (domain, (mut both, mut own)) in domains {
        let title = if domain.is_empty() { "ai.onnx" } else { domain };
        lists += &format!("\n**`{title}`**\n\n");
        for (heading, names) in [("rten, or our own:", &mut both), ("our own:", &mut own)] {
            names.sort_unstable();
            names.dedup();
            if !names.is_empty() {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                lists += &format!("- {heading} {}\n", names.join(" "));
            }
        }
    }
    let (before, rest) = page.split_once(START).ok_or("the page has no mark for the lists")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no mark for the end of the lists")?;
    Ok(format!("{before}{START}{lists}\n{END}{after}"))
}
