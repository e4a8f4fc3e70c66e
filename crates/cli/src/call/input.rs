//! The values of an input, as somebody gives them.

use std::{path::Path, str::FromStr};

use adytum_engine::{
    npz::read_npy,
    tensor::{Elements, Tensor, Text},
};
use anyhow::Context as _;
use serde_json::{Value, json};

use super::values::{real, shaped};
use crate::key_file;

/// The longest file of values: what one request may have, written in words.
const MAXIMUM_LENGTH: u64 = 256 << 20;

/// An input of the command line.
#[derive(Clone, Debug)]
pub(super) struct Given {
    name: Option<String>,
    /// JSON, or `@` and a file.
    values: String,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A value alone begins as JSON or as a file's name; names of inputs do neither.
        if text.starts_with(['@', '[', '{', '"']) {
            return Ok(Self { name: None, values: text.to_owned() });
        }
        match text.split_once('=') {
            Some((name, values)) if !name.is_empty() && !values.is_empty() => {
                Ok(Self { name: Some(name.to_owned()), values: values.to_owned() })
            }
            _ => Err("expected NAME=VALUES, such as x=[[1,2]] or x=@rows.csv".to_owned()),
        }
    }
}

impl Given {
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The values as lists in lists.
    pub(super) fn read(&self) -> anyhow::Result<Value> {
        let Some(file) = self.values.strip_prefix('@') else {
            return serde_json::from_str(&self.values).with_context(|| {
                format!("{:?} is no JSON; give lists of values, as in [[1, 2]]", self.values)
            });
        };
        let path = Path::new(file);
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("npy") => {
                let bytes = key_file::read_bytes(path, MAXIMUM_LENGTH)?;
                of_tensor(&read_npy(&bytes).with_context(|| file.to_owned())?)
            }
            Some("csv") => rows(&key_file::read_text(path, MAXIMUM_LENGTH)?).with_context(|| file.to_owned()),
            Some("json") => {
                let text = key_file::read_text(path, MAXIMUM_LENGTH)?;
                serde_json::from_str(&text).with_context(|| format!("{file} is no JSON"))
            }
            _ => bail_input!("{file} is of an unknown kind; give a file that ends in .npy, .csv or .json"),
        }
    }
}

/// A table: numbers where a cell is one, else texts. A first row without any number is a heading.
fn rows(text: &str) -> anyhow::Result<Value> {
    let cell = |cell: &str| match cell.trim() {
        text if text.parse::<f64>().is_ok() => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text.parse::<f64>().ok()))
        }
        text => json!(text.trim_matches('"')),
    };
    let lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.trim().is_empty());
    let mut rows: Vec<Vec<Value>> = lines.map(|line| line.split(',').map(cell).collect()).collect();
    let has_number = |row: &Vec<Value>| row.iter().any(Value::is_number);
    if rows.len() > 1
        && rows.first().is_some_and(|row| !has_number(row))
        && rows.iter().skip(1).any(has_number)
    {
        rows.remove(0);
    }
    let Some(width) = rows.first().map(Vec::len) else { bail_input!("it has no rows; give at least one") };
    if let Some(place) = rows.iter().position(|row| row.len() != width) {
        bail_input!(
            "row {} has {} cells, expected {width}; give rows of one length",
            place + 1,
            rows[place].len()
        );
    }
    Ok(json!(rows))
}

/// The values of an array, exactly.
fn of_tensor(tensor: &Tensor) -> anyhow::Result<Value> {
    macro_rules! values {
        ($all:ident, $value:ident => $json:expr) => {
            $all.iter().map(|$value| $json).collect()
        };
    }
    let values: Vec<Value> = match tensor.elements() {
        Elements::Float(all) => values!(all, value => real(f64::from(*value))),
        Elements::Double(all) => values!(all, value => real(*value)),
        Elements::Half(all) => values!(all, value => real(f64::from(*value))),
        Elements::Bfloat16(all) => values!(all, value => real(f64::from(*value))),
        Elements::Int8(all) => values!(all, value => json!(value)),
        Elements::Int16(all) => values!(all, value => json!(value)),
        Elements::Int32(all) => values!(all, value => json!(value)),
        Elements::Int64(all) => values!(all, value => json!(value)),
        Elements::Uint8(all) => values!(all, value => json!(value)),
        Elements::Uint16(all) => values!(all, value => json!(value)),
        Elements::Uint32(all) => values!(all, value => json!(value)),
        Elements::Uint64(all) => values!(all, value => json!(value)),
        Elements::Bool(all) => values!(all, value => json!(value)),
        Elements::Text(all) => {
            let text = |value: &Text| Ok(json!(std::str::from_utf8(value).context("a text of the array")?));
            all.iter().map(text).collect::<anyhow::Result<_>>()?
        }
    };
    Ok(shaped(values, tensor.shape()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_have_a_name_or_none() {
        let given = |text: &str| text.parse::<Given>().map(|given| (given.name, given.values));
        assert_eq!(given("x=[[1]]"), Ok((Some("x".to_owned()), "[[1]]".to_owned())));
        assert_eq!(given("[[1]]"), Ok((None, "[[1]]".to_owned())));
        assert_eq!(given("@a=b.csv"), Ok((None, "@a=b.csv".to_owned())));
        for wrong in ["", "x", "x=", "=1"] {
            assert!(given(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_table_has_rows_of_one_length() {
        assert_eq!(rows("a,b\n1,2.5\n3,x\n").unwrap(), json!([[1, 2.5], [3, "x"]]));
        assert_eq!(rows("red\nblue\n").unwrap(), json!([["red"], ["blue"]]));
        assert!(rows("1,2\n3\n").unwrap_err().to_string().contains("row 2 has 1 cells"));
        assert!(rows("\n").is_err());
    }

    #[test]
    fn a_file_is_read_by_its_ending() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            format!("x=@{}", path.display()).parse::<Given>().unwrap().read()
        };
        let mut npy =
            b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }".to_vec();
        npy.resize(80, b' ');
        npy.extend([0.5_f32, f32::NAN].iter().flat_map(|value| value.to_le_bytes()));
        assert_eq!(read("a.npy", &npy).unwrap(), json!([[0.5, "NaN"]]));
        assert_eq!(read("a.json", b"[1]").unwrap(), json!([1]));
        assert_eq!(read("a.CSV", b"1,2").unwrap(), json!([[1, 2]]));
        assert!(read("a.txt", b"1").unwrap_err().to_string().contains(".npy, .csv or .json"));
        assert!(read("b.npy", b"no array").is_err());
    }
}
