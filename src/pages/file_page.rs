//! wsgi-fpm.toml(5), from the declarations.

use clap_mangen::roff::{Roff, bold, italic, roman};
use settings::sections::SECTIONS;
use settings::{Declaration, Entries, Form, Scope};

use super::man::when;
use super::{Page, roff};
use crate::cli::DEFAULT_FILE;

const NAME: &str = "wsgi-fpm.toml";
const SECTION: u8 = 5;

pub fn page() -> Page {
    let mut page = Roff::new();
    roff::section(&mut page, "NAME", &["wsgi-fpm.toml - what wsgi-fpm serves"]);
    roff::section(&mut page, "SYNOPSIS", &[DEFAULT_FILE]);
    roff::section(
        &mut page,
        "DESCRIPTION",
        &[
            "The file is TOML, and describes pools: applications that are served, each with its own Python, user, limits and sockets. \
             An option of wsgi-fpm serve stands in it under the same name with underscores: --request-timeout is \
             request_timeout. A switch is true or false, what can be repeated is a list, NAME=VALUE is a table.",
            "Sizes are bytes, or have k, m or g (powers of 1024); times are seconds, or have ms, s, m or h; a time of \"0\" means \
             no limit. Relative paths begin at the directory of the file that they stand in.",
            "wsgi-fpm check says everything that is wrong with the file, and wsgi-fpm check --show what holds in the end. SIGHUP \
             applies what has changed. wsgi-fpm config reference prints a file with every option.",
        ],
    );
    roff::list(
        &mut page,
        "TABLES",
        &[
            (
                "include = [\"pools.d/*.toml\"]",
                "Above all tables: further files, in the order of their names, which have pools alone.",
            ),
            ("[server]", "What is of the whole program."),
            ("[defaults]", "What holds for all pools that say nothing else."),
            (
                "[pool.NAME]",
                "One application: app and listen must be there. NAME stands in the log and the list of processes.",
            ),
        ],
    );
    for section in SECTIONS {
        let mut options = section.options.iter().filter(|option| is_of_file(option)).peekable();
        if options.peek().is_some() {
            page.control("SH", [section.title.to_uppercase().as_str()]);
        }
        options.for_each(|option| describe(&mut page, option));
    }
    page.control("SH", ["EXAMPLE"]);
    roff::example(
        &mut page,
        &[
            "[defaults]",
            "request_timeout = \"1m\"",
            "",
            "[pool.blog]",
            "app = \"mysite.wsgi:application\"",
            "python = \"/srv/blog/.venv\"",
            "chdir = \"/srv/blog\"",
            "listen = \"/run/wsgi-fpm/blog.sock\"",
            "listen_group = \"www-data\"",
        ],
    );
    roff::see_also(&mut page, &["wsgi-fpm(1)", "wsgi-fpm-serve(1)", "wsgi-fpm-check(1)"]);
    Page {
        name: NAME.to_owned(),
        section: SECTION,
        text: roff::titled(&page.render(), NAME, SECTION),
    }
}

fn is_of_file(option: &Declaration) -> bool {
    option.scope == Scope::Server || option.entries.has(Entries::POOL)
}

fn describe(page: &mut Roff, option: &Declaration) {
    let value = match option.form {
        Form::Switch => "true".to_owned(),
        Form::SwitchOrValue => format!("true | {}", option.value),
        Form::One => option.value.to_owned(),
        Form::List => format!("[{}, ...]", option.value),
        Form::Table => "{ KEY = VALUE, ... }".to_owned(),
    };
    let mut paragraphs = vec![format!("{}.", option.effect())];
    for choice in option.choices {
        paragraphs.push(format!("{}: {}.", choice.word, choice.meaning));
    }
    let default = match (option.form, option.default, option.otherwise) {
        (Form::Switch, ..) => "false",
        (_, Some(default), _) => default,
        (_, None, "") => "none",
        (_, None, otherwise) => otherwise,
    };
    let place = match option.scope {
        Scope::Server => " It stands in [server].",
        Scope::ServerAndPool => " It stands in [server], [defaults] and pools.",
        Scope::Pool | Scope::Listener | Scope::Site => "",
    };
    paragraphs.push(format!("Default: {default}.{place}"));
    paragraphs.extend(Some(when(option)).filter(|when| !when.is_empty()));
    roff::entry(page, [bold(option.key), roman(" = "), italic(value)], &paragraphs);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_the_file_is_described() {
        let text = page().text;
        for option in settings::all().filter(|option| is_of_file(option)) {
            assert!(text.contains(&format!("\n\\fB{}\\fR = ", option.key)), "{}", option.key);
        }
    }
}
