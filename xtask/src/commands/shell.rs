//! The words of the commands in a shell script: as much of the shell's grammar as
//! pages use.

/// The simple commands of a script, each as its words, without quotes. Variables stay as they
/// are written. Redirections and assignments before a command are left out.
pub(super) fn commands(script: &str) -> Vec<Vec<String>> {
    let mut reader = Reader { commands: Vec::new(), words: Vec::new(), word: None, is_target: false };
    let mut characters = script.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('\n') | None => {}
                Some(escaped) => reader.push(escaped),
            },
            '\'' => {
                reader.word.get_or_insert_default();
                for quoted in characters.by_ref().take_while(|quoted| *quoted != '\'') {
                    reader.push(quoted);
                }
            }
            '"' => {
                reader.word.get_or_insert_default();
                while let Some(quoted) = characters.next() {
                    match quoted {
                        '"' => break,
                        '\\' => match characters.next() {
                            Some('\n') | None => {}
                            Some(escaped) => reader.push(escaped),
                        },
                        quoted => reader.push(quoted),
                    }
                }
            }
            '#' if reader.word.is_none() => while characters.next_if(|next| *next != '\n').is_some() {},
            '<' | '>' => {
                // The number of a descriptor before it is no word.
                if reader.word.as_deref().is_some_and(|word| word.chars().all(|digit| digit.is_ascii_digit()))
                {
                    reader.word = None;
                }
                reader.end_word();
                while characters.next_if(|next| matches!(next, '<' | '>' | '&')).is_some() {}
                reader.is_target = true;
            }
            '$' if characters.peek() == Some(&'(') => {
                characters.next();
                reader.end_command();
            }
            '\n' | ';' | '|' | '&' | '(' | ')' | '`' => reader.end_command(),
            ' ' | '\t' => reader.end_word(),
            other => reader.push(other),
        }
    }
    reader.end_command();
    reader.commands
}

struct Reader {
    commands: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
    /// Is the next word the target of a redirection?
    is_target: bool,
}

impl Reader {
    fn push(&mut self, character: char) {
        self.word.get_or_insert_default().push(character);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if std::mem::take(&mut self.is_target) {
            return;
        }
        if self.words.is_empty() && (is_assignment(&word) || is_keyword(&word)) {
            return;
        }
        self.words.push(word);
    }

    fn end_command(&mut self) {
        self.end_word();
        self.is_target = false;
        if !self.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.words));
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    })
}

fn is_keyword(word: &str) -> bool {
    ["if", "then", "else", "while", "do", "!", "{", "time", "exec", "sudo"].contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_the_shell_makes_of_them() {
        assert_eq!(
            commands("a --x='b c' \\\n  \"d $E\" # f\nG=1 h | i >j 2>&1; k\nl=$(m n)\n"),
            [
                vec!["a".to_owned(), "--x=b c".to_owned(), "d $E".to_owned()],
                vec!["h".to_owned()],
                vec!["i".to_owned()],
                vec!["k".to_owned()],
                vec!["m".to_owned(), "n".to_owned()],
            ]
        );
    }

    #[test]
    fn scripts_that_are_cut_off_end() {
        for script in ["a 'b", "a \"b\\", "a \\", "$(", "<"] {
            commands(script);
        }
    }
}
