//! Sentences of Markdown and of comments, with their lines.

use std::path::Path;

/// A sentence in one line, and the line where it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sentence {
    pub(super) text: String,
    pub(super) line: usize,
    /// Is it a cell of a table, which may be a question without its mark?
    pub(super) is_cell: bool,
}

/// A paragraph as it grows.
#[derive(Default)]
struct Paragraph {
    text: String,
    /// Where each line of it starts: an offset in the text, and the line's number.
    lines: Vec<(usize, usize)>,
    is_cell: bool,
}

/// The sentences of a Markdown page, without code.
pub(super) fn of_markdown(page: &str) -> Vec<Sentence> {
    sentences(page.lines().enumerate().map(|(index, line)| (index + 1, Some(line))))
}

/// The sentences of the comments in a Rust file that have lines of their own,
/// without the code in them.
pub(super) fn of_comments(source: &str) -> Vec<Sentence> {
    sentences(source.lines().enumerate().map(|(index, line)| (index + 1, comment(line))))
}

/// The sentences of the comments that start with `#` and have lines of their own: of
/// shell scripts, Python, YAML and TOML.
pub(super) fn of_hash_comments(source: &str) -> Vec<Sentence> {
    sentences(source.lines().enumerate().map(|(index, line)| (index + 1, hash_comment(line))))
}

/// The text of a line that is only a comment. Neither `#!` nor a rule is one.
fn hash_comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix('#')?;
    (text.is_empty() || text.starts_with(' ')).then(|| text.trim_start())
}

/// The sentences of a text that starts at a line.
pub(super) fn of_text(text: &str, line: usize) -> Vec<Sentence> {
    let mut found = Vec::new();
    let mut paragraph = Paragraph::default();
    paragraph.push(&without_code(text), line);
    paragraph.split(&mut found);
    found
}

/// The text of a line that is only a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    let text = text.strip_prefix(['/', '!']).unwrap_or(text);
    // Not `////`, a rule; `# Heading` and lists are Markdown's.
    Some(text.strip_prefix(' ').unwrap_or(text))
}

/// The end of a comment in Markdown.
const COMMENT_END: &str = "-->";

/// Markdown's lines as sentences; `None` is a line that ends any paragraph.
fn sentences<'a>(lines: impl Iterator<Item = (usize, Option<&'a str>)>) -> Vec<Sentence> {
    let mut found = Vec::new();
    let mut paragraph = Paragraph::default();
    let mut fence = None;
    // Within a list's item, indented text is no code.
    let mut is_list = false;
    for (number, line) in lines {
        let Some(line) = line else {
            fence = None;
            paragraph.split(&mut found);
            continue;
        };
        let text = line.trim();
        // Code by indentation: four blanks after a blank line.
        if line.starts_with("    ") && fence.is_none() && paragraph.text.is_empty() && !is_list {
            continue;
        }
        if !text.is_empty() && !line.starts_with(' ') {
            is_list = item(text).is_some();
        }
        // A comment of several lines has code: the commands that readers do not see.
        if fence == Some(COMMENT_END) {
            fence = fence.filter(|_| !text.ends_with(COMMENT_END));
            continue;
        }
        if fence.is_none() && text.starts_with("<!--") && !text.contains(COMMENT_END) {
            paragraph.split(&mut found);
            fence = Some(COMMENT_END);
            continue;
        }
        let marks = ["```", "~~~"].into_iter().find(|mark| text.starts_with(mark));
        match (fence, marks) {
            (Some(open), Some(mark)) if open == mark => {
                fence = None;
                continue;
            }
            (Some(_), _) => continue,
            (None, Some(mark)) => {
                paragraph.split(&mut found);
                fence = Some(mark);
                continue;
            }
            (None, None) => {}
        }
        if text.is_empty() || text.starts_with("<!--") || text.starts_with("|--") {
            paragraph.split(&mut found);
        } else if text.starts_with('|') {
            paragraph.split(&mut found);
            for cell in text.trim_matches('|').split('|') {
                paragraph.push(&without_code(cell.trim()), number);
                paragraph.is_cell = true;
                paragraph.split(&mut found);
            }
        } else if text.starts_with('#') && text.trim_start_matches('#').starts_with(' ') {
            paragraph.split(&mut found);
            paragraph.push(&without_code(text.trim_start_matches(['#', ' '])), number);
            paragraph.split(&mut found);
        } else {
            let item = item(text);
            if item.is_some() {
                paragraph.split(&mut found);
            }
            paragraph.push(&without_code(item.unwrap_or(text)), number);
        }
    }
    paragraph.split(&mut found);
    found
}

/// The text of a list's item.
fn item(text: &str) -> Option<&str> {
    let after =
        text.strip_prefix("- ").or_else(|| text.strip_prefix("* ")).or_else(|| text.strip_prefix("> "));
    after.or_else(|| {
        let (number, rest) = text.split_once(". ")?;
        (!number.is_empty() && number.chars().all(|digit| digit.is_ascii_digit())).then_some(rest)
    })
}

/// Code as one word, a link as its text.
fn without_code(text: &str) -> String {
    let mut plain = String::new();
    for (index, part) in text.split('`').enumerate() {
        plain.push_str(if index % 2 == 0 { part } else { "CODE" });
    }
    let mut linked = String::new();
    let mut rest = plain.as_str();
    while let Some((before, after)) = rest.split_once("](") {
        linked.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    linked.push_str(rest);
    linked.replace(['[', ']'], "").replace("**", "")
}

impl Paragraph {
    fn push(&mut self, line: &str, number: usize) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.lines.push((self.text.len(), number));
        self.text.push_str(line);
    }

    /// Ends the paragraph.
    fn split(&mut self, found: &mut Vec<Sentence>) {
        let mut start = 0;
        let ends = self.text.char_indices().filter(|(index, letter)| {
            let after = self.text.get(index + 1..).unwrap_or_default();
            ['.', '!', '?'].contains(letter)
                && after.starts_with(' ')
                && after.trim_start().starts_with(|next: char| !next.is_lowercase())
        });
        let ends: Vec<usize> = ends.map(|(index, _)| index + 1).chain([self.text.len()]).collect();
        for end in ends {
            let whole = self.text.get(start..end).unwrap_or_default();
            let text = whole.trim();
            if !text.is_empty() {
                let begin = start + (whole.len() - whole.trim_start().len());
                let line = self.lines.iter().rev().find(|(offset, _)| *offset <= begin);
                found.push(Sentence {
                    text: text.to_owned(),
                    line: line.map_or(1, |(_, line)| *line),
                    is_cell: self.is_cell,
                });
            }
            start = end;
        }
        *self = Self::default();
    }
}

/// Is that file a page in Markdown?
pub(super) fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(sentences: Vec<Sentence>) -> Vec<(usize, String)> {
        sentences.into_iter().map(|sentence| (sentence.line, sentence.text)).collect()
    }

    #[test]
    fn markdown_becomes_sentences() {
        let page = "# A title\n\nOne sentence\nover lines, v1.2. Another [with a link](x.md)?\n\n```\ncode. Code\n```\n\
                    - an item\n  continued\n- `b` is code\n\n| a | b. C |\n|---|---|\n| d | e |\n\n1. first\n2. second\n\nEnd:\n\n    code. By indentation\n";
        let expected = [
            (1, "A title"),
            (3, "One sentence over lines, v1.2."),
            (4, "Another with a link?"),
            (9, "an item continued"),
            (11, "CODE is code"),
            (13, "a"),
            (13, "b."),
            (13, "C"),
            (15, "d"),
            (15, "e"),
            (17, "first"),
            (18, "second"),
            (20, "End:"),
        ];
        let expected = expected.map(|(line, text)| (line, text.to_owned()));
        assert_eq!(lines(of_markdown(page)), expected);
    }

    #[test]
    fn comments_become_sentences_each_block_its_own() {
        let source = "//! Head of it\n//! goes on. More.\n\n/// Doc.\n/// ```\n/// code\n/// ```\nfn f() {\n    // Why\n    \
                      // so.\n    let x = \"// not\"; // nor this\n}\n";
        let expected = [(1, "Head of it goes on."), (2, "More."), (4, "Doc."), (9, "Why so.")];
        let expected = expected.map(|(line, text)| (line, text.to_owned()));
        assert_eq!(lines(of_comments(source)), expected);
    }

    #[test]
    fn comments_of_scripts_become_sentences() {
        let source =
            "#!/bin/sh\n# Why it\n# is here.\n#\n#   sh run\n##### rule\nrun # not read\n    # Indented.\n";
        let expected = [(2, "Why it is here."), (5, "sh run"), (8, "Indented.")];
        let expected = expected.map(|(line, text)| (line, text.to_owned()));
        assert_eq!(lines(of_hash_comments(source)), expected);
    }
}
