//! The blocks of code in a Markdown page, and those that only the check sees.

use std::path::{Path, PathBuf};

use crate::problem::{Place, Problem};

/// A block between fences, or in a comment that no reader sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Block {
    /// Where its first line is.
    pub(super) place: Place,
    /// The words after the opening fence, or after `<!--`.
    pub(super) info: String,
    /// Its lines, without the indentation of the fence.
    pub(super) text: String,
}

/// The first words of a comment that is a block.
const HIDDEN: &str = "<!-- sh ";

/// The blocks of a page, in order. Code by indentation can't be marked, so it is a
/// problem, and so is a block without an end.
pub(super) fn blocks(file: &Path, page: &str) -> (Vec<Block>, Vec<Problem>) {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let place = |line: usize| Place { file: PathBuf::from(file), line };
    let mut lines = page.lines().enumerate().map(|(index, line)| (index + 1, line)).peekable();
    let (mut is_blank, mut is_list) = (true, false);
    while let Some((number, line)) = lines.next() {
        let text = line.trim_start();
        let indentation = line.len() - text.len();
        let (info, end) = if let Some(info) = text.strip_prefix("```") {
            (info, "```")
        } else if line.starts_with(HIDDEN) {
            (line.trim_start_matches("<!-- "), "-->")
        } else {
            if is_blank && indentation >= 4 && !is_list && !text.is_empty() {
                let text = "code by indentation has no mark: put it between fences (```)".to_owned();
                problems.push(Problem { place: place(number), text });
            }
            is_blank = text.is_empty();
            if indentation == 0 && !is_blank {
                is_list = is_item(text);
            }
            continue;
        };
        let mut block = Block { place: place(number + 1), info: info.trim().to_owned(), text: String::new() };
        let mut is_closed = false;
        for (_, line) in lines.by_ref() {
            if line.trim() == end {
                is_closed = true;
                break;
            }
            let cut = line.len() - line.trim_start().len();
            block.text.push_str(line.get(cut.min(indentation)..).unwrap_or_default());
            block.text.push('\n');
        }
        if !is_closed {
            problems.push(Problem { place: place(number), text: format!("no line {end} ends this block") });
        }
        is_blank = true;
        found.push(block);
    }
    (found, problems)
}

/// Does an item of a list start here? Indented lines below it are text.
fn is_item(text: &str) -> bool {
    let digits = text.trim_start_matches(|character: char| character.is_ascii_digit());
    text.starts_with("- ")
        || text.starts_with("* ")
        || (digits.len() < text.len() && digits.starts_with(". "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str) -> (Vec<(usize, String, String)>, Vec<usize>) {
        let (blocks, problems) = blocks(Path::new("page.md"), page);
        let blocks = blocks.into_iter().map(|block| (block.place.line, block.info, block.text)).collect();
        (blocks, problems.into_iter().map(|problem| problem.place.line).collect())
    }

    #[test]
    fn fences_and_comments_are_blocks() {
        let page = "a\n\n```sh run\nls\n```\n<!-- sh run\ncd x\n-->\n<!-- a remark -->\n1. item\n\n   ```text\n   b\n     c\n   ```\n";
        let (blocks, problems) = found(page);
        assert_eq!(
            blocks,
            [
                (4, "sh run".to_owned(), "ls\n".to_owned()),
                (7, "sh run".to_owned(), "cd x\n".to_owned()),
                (13, "text".to_owned(), "b\n  c\n".to_owned()),
            ]
        );
        assert!(problems.is_empty());
    }

    #[test]
    fn code_by_indentation_and_blocks_without_an_end_are_problems() {
        assert_eq!(found("a\n\n    ls\n").1, [3]);
        assert_eq!(found("- a\n\n    more of the item\n").1, Vec::<usize>::new());
        assert_eq!(found("a\n```sh run\nls\n").1, [2]);
    }
}
