//! Names of classes.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::error::ClientError;

/// The largest file of labels read, in bytes.
const MAXIMUM_LENGTH: u64 = 1 << 20;

/// One name a class, from a file of one a line.
#[derive(Clone, Debug)]
pub struct Labels {
    path: PathBuf,
    names: Vec<String>,
}

impl Labels {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let error = |problem: String| ClientError::Labels { path: path.to_owned(), problem };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAXIMUM_LENGTH + 1).read_to_string(&mut text))
            .map_err(|problem| error(problem.to_string()))?;
        if text.len() as u64 > MAXIMUM_LENGTH {
            return Err(error("the file is too large".to_owned()));
        }
        let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        if names.is_empty() {
            return Err(error("the file is empty".to_owned()));
        }
        Ok(Self { path: path.to_owned(), names })
    }

    /// That there are as many labels as classes: with fewer or more, some label
    /// would be another class's.
    pub fn check(&self, classes: usize) -> Result<(), ClientError> {
        if self.names.len() == classes {
            return Ok(());
        }
        let problem = format!("{} labels for {classes} classes", self.names.len());
        Err(ClientError::Labels { path: self.path.clone(), problem })
    }

    /// The name of a class.
    pub fn name(&self, class: usize) -> Option<&str> {
        self.names.get(class).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_label_a_class() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("labels.txt");
        std::fs::write(&path, "cat\r\ndog\n").unwrap();
        let labels = Labels::read(&path).unwrap();
        assert_eq!((labels.name(0), labels.name(1), labels.name(2)), (Some("cat"), Some("dog"), None));
        labels.check(2).unwrap();
        let error = labels.check(3).unwrap_err();
        assert_eq!(error.code(), "bad-labels");
        assert!(error.to_string().contains("2 labels for 3 classes"), "{error}");
    }

    #[test]
    fn unusable_files_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("labels.txt");
        assert!(Labels::read(&path).unwrap_err().to_string().contains("labels.txt"));
        std::fs::write(&path, "").unwrap();
        assert!(Labels::read(&path).unwrap_err().to_string().contains("empty"));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(Labels::read(&path).unwrap_err().code(), "bad-labels");
        std::fs::write(&path, vec![b'a'; (1 << 20) + 1]).unwrap();
        assert!(Labels::read(&path).unwrap_err().to_string().contains("too large"));
    }
}
