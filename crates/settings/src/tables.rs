//! The documentation's tables and the reference file, made from the declarations.

use std::fmt::Write;

use crate::declaration::{Declaration, Entries, Form, Scope};
use crate::sections::Section;

/// The table of a section for `docs/options.md`.
pub fn markdown(section: &Section) -> String {
    let mut table = String::from("| option | default | effect | when to change it |\n|---|---|---|---|\n");
    for option in section.options.iter().filter(|option| is_argument(option)) {
        let cells = [typed(option), defaults(option), option.effect(), option.when.to_owned()];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _infallible = writeln!(table, "| {} |", cells.join(" | "));
    }
    table
}

/// APP stands for itself.
fn is_argument(option: &Declaration) -> bool {
    option.key != "app"
}

/// `--threads N`.
fn typed(option: &Declaration) -> String {
    let words: Vec<_> = option.choices.iter().map(|choice| choice.word).collect();
    let value = match (option.form, words.as_slice()) {
        (Form::Switch, _) => String::new(),
        (Form::SwitchOrValue, _) => format!("[={}]", option.value),
        (_, words @ [_, _]) => format!(" {}", words.join("|")),
        _ => format!(" {}", option.value),
    };
    // Those that only a file has are written as it writes them.
    match option.entries.has(Entries::SERVE.or(Entries::DEV).or(Entries::SCRIPTS)) {
        true => format!("`--{}{value}`", option.long()),
        false => format!("`{}` (file alone)", option.key),
    }
}

fn defaults(option: &Declaration) -> String {
    match (option.form, option.default) {
        (Form::Switch | Form::SwitchOrValue, _) => "off".to_owned(),
        (_, None) if option.otherwise.is_empty() => "none".to_owned(),
        (_, None) => option.otherwise.to_owned(),
        (_, Some(default)) => match option.default_of_scripts {
            Some(scripts) => format!("`{default}`; `{scripts}` where a web server has started the process"),
            None => format!("`{default}`"),
        },
    }
}

/// A configuration file with every option in a comment.
pub fn reference() -> String {
    let mut file = String::from(REFERENCE_HEAD);
    let server = |option: &Declaration| matches!(option.scope, Scope::Server | Scope::ServerAndPool);
    file.push_str("[server]\n");
    crate::all()
        .filter(|option| server(option))
        .for_each(|option| describe(&mut file, option));
    file.push_str("\n# What holds for all pools that say nothing else.\n[defaults]\n");
    for section in crate::sections::SECTIONS {
        let _infallible = writeln!(file, "\n# --- {}", section.title);
        let of_pools = |option: &&Declaration| option.scope != Scope::Server && option.entries.has(Entries::POOL);
        section
            .options
            .iter()
            .filter(of_pools)
            .for_each(|option| describe(&mut file, option));
    }
    file.push_str(REFERENCE_TAIL);
    file
}

const REFERENCE_HEAD: &str = "\
# wsgi-fpm.toml: every option, with its default where it has one that can be written. An option counts without the # in
# front of it. Sizes are bytes, or have k, m or g; times are seconds, or have ms, s, m or h; a time of \"0\" means no limit.
# Relative paths begin at the directory of this file.

# Further files, in the order of their names.
#include = [\"pools.d/*.toml\"]

";

const REFERENCE_TAIL: &str = "
# One application. Everything of [defaults] can stand here.
#[pool.blog]
#app = \"mysite.wsgi:application\"
#python = \"/srv/blog/.venv\"
#chdir = \"/srv/blog\"
#listen = \"/run/wsgi-fpm/blog.sock\"
#listen_group = \"www-data\"
";

fn describe(file: &mut String, option: &Declaration) {
    file.push('\n');
    for line in wrap(&option.effect(), 118) {
        let _infallible = writeln!(file, "# {line}");
    }
    if !option.otherwise.is_empty() {
        for line in wrap(&format!("Without it: {}", option.otherwise), 118) {
            let _infallible = writeln!(file, "# {line}");
        }
    }
    let example = match (option.form, option.default) {
        (Form::Switch | Form::SwitchOrValue, _) => "false".to_owned(),
        (_, Some(number)) if number.parse::<u64>().is_ok() && !number.starts_with('0') => number.to_owned(),
        (_, Some(text)) => format!("\"{text}\""),
        (Form::List, None) => "[]".to_owned(),
        (Form::Table, None) => "{}".to_owned(),
        (Form::One, None) => format!("\"{}\"", option.value),
    };
    let _infallible = writeln!(file, "#{} = {example}", option.key);
}

/// Lines of at most `width` characters, broken between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_broken_between_words_where_the_next_one_does_not_fit() {
        for (width, expected) in [
            (5, &["aa bb", "cc"][..]),
            (4, &["aa", "bb", "cc"]),
            (1, &["aa", "bb", "cc"]),
            (8, &["aa bb cc"]),
        ] {
            assert_eq!(wrap("aa  bb\ncc", width), expected, "{width}");
        }
        // Characters, not bytes.
        assert_eq!(wrap("\u{e9}\u{e9} \u{e9}\u{e9}", 5).len(), 1);
        assert_eq!(wrap("", 5), [""; 0]);
    }
}
