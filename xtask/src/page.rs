//! A part of a page that a program writes, between two marks.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// A generated part: the lines between `<!-- name -->` and `<!-- /name -->`.
pub(crate) struct Section {
    /// The page, from the workspace's root.
    pub(crate) file: &'static str,
    /// The name in the marks.
    pub(crate) name: &'static str,
}

impl Section {
    /// Fails unless the part is exactly that text.
    pub(crate) fn check(&self, root: &Path, text: &str, command: &str) -> Result<()> {
        let page = self.read(root)?;
        if self.replaced(&page, text)? != page {
            bail!("{}: the part between <!-- {} --> is out of date; run {command}", self.file, self.name);
        }
        Ok(())
    }

    /// Makes the part that text.
    pub(crate) fn write(&self, root: &Path, text: &str) -> Result<()> {
        let page = self.replaced(&self.read(root)?, text)?;
        fs::write(root.join(self.file), page).with_context(|| format!("write {}", self.file))
    }

    fn read(&self, root: &Path) -> Result<String> {
        fs::read_to_string(root.join(self.file)).with_context(|| format!("read {}", self.file))
    }

    fn replaced(&self, page: &str, text: &str) -> Result<String> {
        let opening = format!("<!-- {} -->\n", self.name);
        let closing = format!("<!-- /{} -->", self.name);
        let parts =
            page.split_once(&opening).and_then(|(before, rest)| Some((before, rest.split_once(&closing)?.1)));
        let Some((before, after)) = parts else {
            bail!("{} has no lines {} and {closing}; add both", self.file, opening.trim_end());
        };
        Ok(format!("{before}{opening}{text}{closing}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: Section = Section { file: "page.md", name: "part" };

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("page.md");
        fs::write(&path, "a\n<!-- part -->\nold\n<!-- /part -->\nb\n").unwrap();
        let error = SECTION.check(directory.path(), "new\n", "xtask --write").unwrap_err();
        assert!(error.to_string().contains("xtask --write"), "{error}");
        SECTION.write(directory.path(), "new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\n<!-- part -->\nnew\n<!-- /part -->\nb\n");
        SECTION.check(directory.path(), "new\n", "xtask --write").unwrap();
    }

    #[test]
    fn a_page_without_marks_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("page.md"), "text\n").unwrap();
        let error = SECTION.write(directory.path(), "new\n").unwrap_err();
        assert!(error.to_string().contains("<!-- /part -->"), "{error}");
    }
}
