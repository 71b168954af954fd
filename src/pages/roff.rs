//! The few shapes that pages have, in the language of man.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// `text` with its first line of the page: no date, since the same sources give the same page.
pub fn titled(text: &str, name: &str, section: u8) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let title = format!(
        ".TH {} {section} \"\" \"wsgi-fpm {version}\" wsgi-fpm",
        name.to_uppercase()
    );
    let is_title = |line: &&str| line.starts_with(".TH ");
    match text.lines().find(is_title) {
        Some(line) => text.replacen(line, &title, 1),
        None => format!("{title}\n{text}"),
    }
}

/// A heading, with paragraphs below it.
pub fn section(page: &mut Roff, title: &str, paragraphs: &[&str]) {
    page.control("SH", [title]);
    for (at, paragraph) in paragraphs.iter().enumerate() {
        if at > 0 {
            page.control("PP", []);
        }
        page.text([roman(plain(paragraph))]);
    }
}

/// A term and what there is to say of it, in paragraphs.
pub fn entry(page: &mut Roff, term: impl Into<Vec<Inline>>, paragraphs: &[String]) {
    page.control("TP", []);
    page.text(term);
    for (at, paragraph) in paragraphs.iter().enumerate() {
        if at > 0 {
            page.control("IP", []);
        }
        page.text([roman(plain(paragraph))]);
    }
}

/// A list of terms, each with one paragraph.
pub fn list(page: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (term, meaning) in entries {
        entry(page, [bold(*term)], &[(*meaning).to_owned()]);
    }
}

/// Lines as they are.
pub fn example(page: &mut Roff, lines: &[&str]) {
    page.control("RS", ["4"]);
    page.control("nf", []);
    for line in lines {
        page.text([roman(*line)]);
    }
    page.control("fi", []);
    page.control("RE", []);
}

pub fn see_also(page: &mut Roff, pages: &[&str]) {
    let pages = pages.join(", ");
    section(page, "SEE ALSO", &[&pages]);
}

/// Marks of the documentation are none in a terminal: `code` and [links](#where).
pub fn plain(text: &str) -> String {
    let text = text.replace('`', "");
    let mut pieces = text.split("](");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        if let Some(at) = plain.rfind('[') {
            plain.remove(at);
        }
        plain.push_str(piece.split_once(')').map_or(piece, |(_, rest)| rest));
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_the_documentation_are_taken_out() {
        assert_eq!(
            plain("see `a` and\n [below](#x), or [b] [c d](e.md)."),
            "see a and below, or [b] c d."
        );
        assert_eq!(plain("[default: x]"), "[default: x]");
    }
}
