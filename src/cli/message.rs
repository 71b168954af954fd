//! What is said of a command line that can't be understood: one line, and what to type where that is clear.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What clap says before its usage text, with its tip; `arguments` are those of the whole command line.
pub fn one_line(error: &clap::Error, arguments: &[OsString]) -> String {
    let mut line = words(error);
    if let Some(advice) = advice(error, arguments) {
        line.push_str("; ");
        line.push_str(&advice);
    }
    line
}

fn words(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = ["\n\nUsage:", "\n\nFor more information"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    let lines = text[..end.unwrap_or(text.len())].lines().map(str::trim);
    let mut line = String::new();
    for part in lines.filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') { " " } else { "; " });
        }
        line.push_str(part);
    }
    line
}

fn advice(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let command = arguments.get(1)?.to_str()?;
    let named = match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(name) => vec![name.as_str()],
        ContextValue::Strings(names) => names.iter().map(String::as_str).collect(),
        _ => return None,
    };
    match (command, error.kind(), named.as_slice()) {
        ("dev", ErrorKind::UnknownArgument, [name]) if name.starts_with("--listen") => Some(
            "dev speaks HTTP to browsers, and --bind 127.0.0.1:8000 says where; serve has --listen, for web servers"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn line(typed: &[&str]) -> String {
        let arguments: Vec<OsString> = typed.iter().map(OsString::from).collect();
        one_line(&Cli::try_parse_from(&arguments).unwrap_err(), &arguments)
    }

    #[test]
    fn usage_errors_fit_on_one_line() {
        for typed in [
            &["wsgi-fpm", "dev"] as &[&str],
            &["wsgi-fpm", "serve", "app", "--lisen", "/x"],
            &["wsgi-fpm", "serve", "app", "--listen", "/x", "--body-max", "much"],
        ] {
            let line = line(typed);
            assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
        }
    }

    #[test]
    fn preview_has_another_word_for_where_it_listens() {
        for option in ["--listen", "--listen=:9000", "--listen-mode"] {
            let line = line(&["wsgi-fpm", "dev", "app", option]);
            assert!(line.contains("--bind 127.0.0.1:8000"), "{line}");
        }
    }
}
