//! The mark in the first line of a block.

/// How a block is checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    /// `sh run`: it is run here, and it ends.
    Run,
    /// `sh run until TEXT`: it is started, and the page goes on when it has printed this.
    Start {
        /// A part of a line that it prints when it is ready.
        until: String,
    },
    /// `python run MODULE...`: Python runs it, where it has these modules.
    Python {
        /// Names of modules that it imports, beyond Python's own.
        modules: Vec<String>,
    },
    /// `sh cluster`: it needs a Kubernetes cluster and images.
    Cluster,
    /// `sh hardware REASON` or `python hardware REASON`: it can't be run here.
    Hardware {
        /// The language that its syntax is checked by.
        language: Language,
        /// The thing that is missing here, for the reader of CI's output.
        reason: String,
    },
    /// No command: an output, a file, a program.
    Other,
}

/// The language of commands and programs that can't be run here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Language {
    Shell,
    Python,
}

/// Languages of blocks that are no commands.
const OTHERS: [&str; 9] =
    ["text", "toml", "yaml", "json", "python", "javascript", "go", "protobuf", "textproto"];

impl Mark {
    /// Is the block run here?
    pub(super) fn is_run(&self) -> bool {
        matches!(self, Self::Run | Self::Start { .. } | Self::Python { .. })
    }

    /// The mark of a block with these words after its fence; or what to write instead.
    pub(super) fn parse(info: &str) -> Result<Self, String> {
        let mut words = info.split_whitespace();
        let language = words.next().unwrap_or_default();
        let mark = words.next();
        let rest = words.collect::<Vec<_>>().join(" ");
        match (language, mark) {
            ("sh", Some("run")) if rest.is_empty() => Ok(Self::Run),
            ("sh", Some("run")) => match rest.strip_prefix("until ") {
                Some(until) => Ok(Self::Start { until: until.to_owned() }),
                None => Err(format!("{rest:?} after `sh run`: write `until TEXT`, or nothing")),
            },
            ("sh", Some("cluster")) if rest.is_empty() => Ok(Self::Cluster),
            ("sh" | "python", Some("hardware")) if rest.is_empty() => {
                Err(format!("`{language} hardware` needs a reason why it can't be run here"))
            }
            ("sh", Some("hardware")) => Ok(Self::Hardware { language: Language::Shell, reason: rest }),
            ("python", Some("hardware")) => Ok(Self::Hardware { language: Language::Python, reason: rest }),
            ("sh", _) => {
                Err("commands need a mark: `sh run`, `sh cluster` or `sh hardware REASON`".to_owned())
            }
            ("python", Some("run")) => {
                Ok(Self::Python { modules: rest.split_whitespace().map(str::to_owned).collect() })
            }
            (language, None) if OTHERS.contains(&language) => Ok(Self::Other),
            _ => Err(format!(
                "{info:?} is no mark: write `sh run`, `sh cluster` or `sh hardware REASON` for commands, `python run \
                 MODULE...` or `python hardware REASON` for programs, `text` for outputs, or one of {}",
                OTHERS.join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read() {
        assert_eq!(Mark::parse("sh run"), Ok(Mark::Run));
        assert_eq!(
            Mark::parse("sh run until ready after"),
            Ok(Mark::Start { until: "ready after".to_owned() })
        );
        assert_eq!(Mark::parse("sh cluster"), Ok(Mark::Cluster));
        assert_eq!(
            Mark::parse("sh hardware needs SGX"),
            Ok(Mark::Hardware { language: Language::Shell, reason: "needs SGX".to_owned() })
        );
        assert_eq!(
            Mark::parse("python hardware takes 2 GB"),
            Ok(Mark::Hardware { language: Language::Python, reason: "takes 2 GB".to_owned() })
        );
        assert!(Mark::parse("sh run").unwrap().is_run() && Mark::parse("python run").unwrap().is_run());
        assert!(!Mark::parse("python hardware a").unwrap().is_run() && !Mark::Cluster.is_run());
        assert_eq!(
            Mark::parse("python run sklearn"),
            Ok(Mark::Python { modules: vec!["sklearn".to_owned()] })
        );
        assert_eq!(Mark::parse("toml"), Ok(Mark::Other));
    }

    #[test]
    fn a_block_without_a_mark_is_refused() {
        for info in [
            "",
            "sh",
            "bash",
            "console",
            "sh hardware",
            "sh run fast",
            "sh cluster now",
            "toml run",
            "python hardware",
            "python cluster",
        ] {
            assert!(Mark::parse(info).is_err(), "{info:?}");
        }
    }
}
