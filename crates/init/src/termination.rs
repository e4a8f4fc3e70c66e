//! The message that Kubernetes shows for a container that has ended
//! (`terminationMessagePath`): why this replica did not start, or stopped.
//!
//! Where it goes is the host's choice and not measured, so it can do no harm
//! there: it is only ever written to an empty file that exists, and in the
//! program's own words.

use std::{
    env,
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

/// Names the file; untrusted, as every variable of the host is.
pub const VARIABLE: &str = "ADYTUM_TERMINATION_LOG";

/// Where Kubernetes mounts it by default.
const DEFAULT_PATH: &str = "/dev/termination-log";

/// What Kubernetes keeps of a message, in bytes.
const LONGEST: usize = 4096;

/// The text instead of a reason that repeats what the host gave: arguments,
/// names of variables, paths, addresses. The log has the reason itself.
const OWN_WORDS: [(&str, &str); 4] = [
    ("argument-refused", "the arguments are not those that are pinned; the log says which"),
    ("environment-refused", "an environment variable is refused; the log says which"),
    ("evidence-port", "the port for evidence could not be opened; the log says why"),
    ("program-not-pinned", "program and measured configuration do not go together; the log says why"),
];

/// Writes one line: a stable code, the reason, which holds no secret, and the next step; to the
/// file that `ADYTUM_TERMINATION_LOG` names, or else at the usual place. The file
/// exists and is empty, as Kubernetes makes it for each container; otherwise
/// nothing is written.
///
/// Nothing depends on it, so a failure is logged and no more.
pub fn report(code: &str, reason: &dyn std::fmt::Display) {
    let named = env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = named.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    match write(path, &line(code, reason)) {
        // Nobody asked for it, and there is no Kubernetes.
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "no termination message"),
        Ok(()) => {}
    }
}

/// One line that fits.
fn line(code: &str, reason: &dyn std::fmt::Display) -> String {
    let own_words = OWN_WORDS.iter().find(|(of, _)| *of == code);
    let mut text = match own_words {
        Some((_, words)) => format!("{code}: {words}"),
        None => format!("{code}: {reason}"),
    };
    let next_step = adytum_codes::next_step(code);
    if !next_step.is_empty() {
        text.push_str("; what to do: ");
        text.push_str(next_step);
    }
    let mut line = text.replace(|c: char| c.is_control(), " ");
    if line.len() >= LONGEST {
        line.truncate(line.floor_char_boundary(LONGEST - 1));
    }
    line.push('\n');
    line
}

fn write(path: &Path, line: &str) -> io::Result<()> {
    // Neither a link nor something that blocks: the host names the path.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).append(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    // Its size does not tell: that of a file in /proc is 0, and what is written
    // there has effects.
    if file.read(&mut [0])? != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not empty; nothing is overwritten"));
    }
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_one_line_in_an_empty_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("termination-log");
        fs::write(&path, "").unwrap();
        write(&path, &line("secret-refused", &"two\nlines")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("secret-refused: two lines; what to do: "), "{text}");
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn it_is_not_longer_than_kubernetes_keeps() {
        let text = line("code", &"ü".repeat(LONGEST));
        assert!(text.len() <= LONGEST && text.ends_with("ü\n"));
    }

    #[test]
    fn it_does_not_repeat_what_the_host_gave() {
        for (code, _) in OWN_WORDS {
            let text = line(code, &"argument 1 \"the host's\" is not among those pinned");
            assert!(text.starts_with(&format!("{code}: ")) && !text.contains("the host's"), "{text}");
        }
    }

    #[test]
    fn no_file_is_made_none_with_content_is_changed_and_no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("file"), directory.path().join("link"));
        assert_eq!(write(&path, "x").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(write(&link, "x").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        fs::write(&path, "untouched").unwrap();
        assert!(write(&path, "x").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "untouched");
        assert!(write(directory.path(), "x").is_err());
    }

    #[test]
    fn a_file_of_the_kernel_is_not_empty_though_its_size_is_0() {
        // Every process may write this one, and it then has another name.
        let path = Path::new("/proc/self/comm");
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
        let before = fs::read(path).unwrap();
        assert!(write(path, "x").is_err());
        assert_eq!(fs::read(path).unwrap(), before);
    }
}
