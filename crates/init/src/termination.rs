//! The message that Kubernetes shows for a container that has ended
//! (`terminationMessagePath`): why this replica did not start, or stopped.

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

/// Names the file; untrusted, as every variable of the host is.
pub const VARIABLE: &str = "ADYTUM_TERMINATION_LOG";

/// Where Kubernetes mounts it unless told otherwise.
const DEFAULT_PATH: &str = "/dev/termination-log";

/// What Kubernetes keeps of a message, in bytes.
const LONGEST: usize = 4096;

/// Writes one line: a stable code and the reason, which holds no secret. At the
/// usual place only where Kubernetes has put a file; at a place that
/// `ADYTUM_TERMINATION_LOG` names the file is made if need be.
///
/// Nothing depends on it, so a failure is logged and no more.
pub fn report(code: &str, reason: &dyn std::fmt::Display) {
    let (path, create) = match env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => (PathBuf::from(path), true),
        None => (PathBuf::from(DEFAULT_PATH), false),
    };
    match write(&path, create, &line(code, reason)) {
        Err(error) if create || error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(path = %path.display(), %error, "no termination message");
        }
        _ => {}
    }
}

/// One line that fits.
fn line(code: &str, reason: &dyn std::fmt::Display) -> String {
    let mut line = format!("{code}: {reason}").replace(|c: char| c.is_control(), " ");
    if line.len() >= LONGEST {
        line.truncate(line.floor_char_boundary(LONGEST - 1));
    }
    line.push('\n');
    line
}

fn write(path: &Path, create: bool, line: &str) -> io::Result<()> {
    // Neither a link nor something that blocks: the host names the path.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file =
        OpenOptions::new().write(true).create(create).mode(0o644).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    file.set_len(0)?;
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_that_replaces_an_older_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("termination-log");
        write(&path, true, &line("first", &"a long message about something")).unwrap();
        write(&path, false, &line("secret-refused", &"two\nlines")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret-refused: two lines\n");
    }

    #[test]
    fn it_is_not_longer_than_kubernetes_keeps() {
        let text = line("code", &"ü".repeat(LONGEST));
        assert!(text.len() <= LONGEST && text.ends_with("ü\n"));
    }

    #[test]
    fn no_file_is_made_where_kubernetes_has_none_and_no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("file"), directory.path().join("link"));
        assert_eq!(write(&path, false, "x").unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "untouched").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(write(&link, true, "x").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "untouched");
    }
}
