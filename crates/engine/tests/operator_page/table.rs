//! The tables of operators in `docs/models.md`, from the registry and from the rules of rten.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Operators that the planner makes of nested graphs.
const CONTROL: [&str; 4] = ["If", "Loop", "Scan", "SequenceMap"];

/// Operators that are known and refused in every form (`src/operators/random.rs`).
const REFUSED: [&str; 2] = ["Bernoulli", "RandomUniformLike"];

const START: &str = "<!-- operators -->\n";
const END: &str = "<!-- /operators -->\n";

/// The text of the rules for rten, which names the operators that it computes.
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

/// Names that rten computes too, and names that only our own operators compute; sorted.
type Row<'a> = (BTreeSet<&'a str>, BTreeSet<&'a str>);

/// Rows that are short enough to read: one for each first letter.
fn by_first_letter<'a>(both: &[&'a str], own: &[&'a str]) -> BTreeMap<char, Row<'a>> {
    let mut rows: BTreeMap<char, Row<'a>> = BTreeMap::new();
    for name in both {
        rows.entry(first_letter(name)).or_default().0.insert(name);
    }
    for name in own {
        rows.entry(first_letter(name)).or_default().1.insert(name);
    }
    rows
}

fn first_letter(name: &str) -> char {
    name.chars().next().unwrap_or(' ')
}

fn cell(names: &BTreeSet<&str>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

/// The page with its lists as the sources of the crate in `engine` say.
pub fn page(engine: &Path, page: &str) -> Result<String, String> {
    let rules = rules(engine)?;
    let by_rten = |name: &str| rules.contains(&format!("\"{name}\""));
    let mut domains: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    let control = CONTROL.iter().map(|name| ("", *name));
    for (domain, name) in adytum_engine::operators::known().chain(control) {
        if REFUSED.contains(&name) {
            continue;
        }
        let (both, own) = domains.entry(domain).or_default();
        let has_rules = matches!(domain, "" | "com.microsoft") && by_rten(name);
        if has_rules { both.push(name) } else { own.push(name) }
    }
    let mut lists = String::new();
    for (domain, (both, own)) in domains {
        let title = if domain.is_empty() { "ai.onnx" } else { domain };
        lists += &format!("\n**`{title}`**\n\n");
        lists += "| first letter | rten, or our own | our own |\n|---|---|---|\n";
        for (letter, (both, own)) in by_first_letter(&both, &own) {
            lists += &format!("| {letter} | {} | {} |\n", cell(&both), cell(&own));
        }
    }
    let (before, rest) = page.split_once(START).ok_or("the page has no mark for the lists")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no mark for the end of the lists")?;
    Ok(format!("{before}{START}{lists}\n{END}{after}"))
}
