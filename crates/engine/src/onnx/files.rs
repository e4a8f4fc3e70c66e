//! Where the data of tensors lies that is not in the model's own file ("external data").

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use adytum_kernels::pages::room;

/// The files in a model's directory. An implementation gives files of the model's own directory
/// and of no other.
pub trait DataFiles {
    /// `length` bytes from `offset` of the file. An error says what is wrong.
    fn read(&self, name: &FileName, offset: u64, length: usize) -> Result<Vec<u8>, String>;
}

/// All bytes of a file, in large pages where the system has them: to touch small ones for the first time takes longer
/// than the copy.
///
/// # Errors
/// Those of the system; there is no memory.
pub fn read_whole(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
    let mut bytes = room(size)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The name of a file in the model's directory or below it: relative, without `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

impl FileName {
    /// The name, if it does not lead out of the directory.
    pub fn parse(name: &str) -> Option<Self> {
        let inside = !name.is_empty()
            && name.len() <= 4096
            && !name.contains(['\0', '\\'])
            && Path::new(name)
                .components()
                .all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
            && Path::new(name).file_name().is_some();
        inside.then(|| Self(name.to_owned()))
    }

    /// The name, relative to the directory.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// No files: a model that is one file.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl DataFiles for NoFiles {
    fn read(&self, name: &FileName, _offset: u64, _length: usize) -> Result<Vec<u8>, String> {
        Err(format!(
            "its data is in the file {:?}, and the model came alone; give the model's directory, or save it \
             as one file (onnx.save with save_as_external_data=False)",
            name.as_str()
        ))
    }
}

/// The files of a directory. A symbolic link that leads out of it is refused.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        Ok(Self { root: path.canonicalize()? })
    }
}

impl DataFiles for Directory {
    fn read(&self, name: &FileName, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let found = |error: std::io::Error| format!("its data is in the file {:?}: {error}", name.as_str());
        let path = self.root.join(name.as_str()).canonicalize().map_err(found)?;
        if !path.starts_with(&self.root) {
            return Err(format!(
                "its data is in the file {:?}, which is outside the directory",
                name.as_str()
            ));
        }
        let mut file = File::open(path).map_err(found)?;
        let size = file.metadata().map_err(found)?.len();
        if offset.checked_add(length as u64).is_none_or(|end| end > size) {
            return Err(format!(
                "its data is in the file {:?}, {length} bytes at {offset}, but that file has {size} bytes",
                name.as_str()
            ));
        }
        file.seek(SeekFrom::Start(offset)).map_err(found)?;
        let mut bytes = room(length).map_err(|error| found(error.into()))?;
        file.take(length as u64).read_to_end(&mut bytes).map_err(found)?;
        if bytes.len() == length { Ok(bytes) } else { Err("its file became shorter".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_directory() {
        for name in ["weights.data", "a/b.data", "./w"] {
            assert!(FileName::parse(name).is_some(), "{name}");
        }
        for name in ["", ".", "..", "/etc/passwd", "../w", "a/../../w", "a\\w", "a\0"] {
            assert!(FileName::parse(name).is_none(), "{name}");
        }
    }
}
