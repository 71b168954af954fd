//! Text that grows line by line, each indented as its place wants it.

use std::fmt::{self, Display};

/// Comments are no wider than this, unless a word is.
const WIDTH: usize = 118;

/// A configuration as it is written.
#[derive(Debug)]
pub struct Text {
    out: String,
    indent: &'static str,
    depth: usize,
}

impl Text {
    /// `indent`: one step of it.
    pub fn new(indent: &'static str) -> Self {
        Self {
            out: String::new(),
            indent,
            depth: 0,
        }
    }

    pub fn line(&mut self, line: impl Display) {
        for _ in 0..self.depth {
            self.out.push_str(self.indent);
        }
        self.out.push_str(&line.to_string());
        self.out.push('\n');
    }

    /// Lines that stand somewhere as they are; empty ones stay empty.
    pub fn lines(&mut self, lines: &str) {
        for line in lines.lines() {
            match line {
                "" => self.blank(),
                line => self.line(line),
            }
        }
    }

    /// An empty line; never two of them.
    pub fn blank(&mut self) {
        if !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// A sentence or more, in as many lines as it takes.
    pub fn comment(&mut self, words: impl Display) {
        let mut line = String::from("#");
        let before = self.depth * self.indent.len();
        for word in words.to_string().split(' ').filter(|word| !word.is_empty()) {
            if line.len() > 1 && before + line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(&line);
                line.truncate(1);
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(line);
    }

    /// In a comment, something to type or to copy: in one line, however long.
    pub fn typed(&mut self, command: impl Display) {
        self.line(format_args!("#     {command}"));
    }

    /// `open`, what `inner` writes, one step further in, and `close`.
    pub fn block<R>(&mut self, open: impl Display, close: &str, inner: impl FnOnce(&mut Self) -> R) -> R {
        self.line(open);
        self.depth += 1;
        let written = inner(self);
        self.depth -= 1;
        self.line(close);
        written
    }

    /// Lines that belong to the one before them, one step further in.
    pub fn indented<R>(&mut self, inner: impl FnOnce(&mut Self) -> R) -> R {
        self.depth += 1;
        let written = inner(self);
        self.depth -= 1;
        written
    }

    /// Another line at the end of the comment that the text begins with.
    pub fn note(&mut self, note: impl Display) {
        let comment = self.out.split_inclusive('\n').take_while(|line| line.starts_with('#'));
        let end = comment.map(str::len).sum();
        self.out.insert_str(end, &format!("# {note}\n"));
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_indented_by_the_blocks_around_them() {
        let mut text = Text::new("\t");
        text.block("server {", "}", |text| {
            text.line("listen 80;");
            text.blank();
            text.blank();
            text.block("location / {", "}", |text| text.lines("a;\n\nb;\n"));
        });
        text.line("end");
        assert_eq!(
            text.to_string(),
            "server {\n\tlisten 80;\n\n\tlocation / {\n\t\ta;\n\n\t\tb;\n\t}\n}\nend\n"
        );
    }

    #[test]
    fn comments_are_wrapped_at_the_width_and_words_are_whole() {
        let wrapped = |words: &str| {
            let mut text = Text::new("    ");
            text.indented(|text| text.comment(words));
            text.to_string()
        };
        // Six characters stand before the words.
        let fits = "x".repeat(WIDTH - 6 - 4);
        assert_eq!(wrapped(&format!("{fits} abc")), format!("    # {fits} abc\n"));
        assert_eq!(
            wrapped(&format!("{fits} abcd ef")),
            format!("    # {fits}\n    # abcd ef\n")
        );
        let long = "x".repeat(2 * WIDTH);
        assert_eq!(wrapped(&long), format!("    # {long}\n"));
        assert_eq!(wrapped(""), "    #\n");
        // Characters count, not bytes.
        let umlauts = "ä".repeat(WIDTH - 6 - 4);
        assert_eq!(wrapped(&format!("{umlauts} abc")), format!("    # {umlauts} abc\n"));
    }

    #[test]
    fn note_stands_at_the_end_of_the_first_comment() {
        let mut text = Text::new("");
        text.comment("One.");
        text.line("a");
        text.comment("Two.");
        text.note("Noted.");
        assert_eq!(text.to_string(), "# One.\n# Noted.\na\n# Two.\n");
    }
}
