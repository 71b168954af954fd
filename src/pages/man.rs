//! A page for the program and one for each of its subcommands, made from their arguments.

use clap::builder::Resettable;
use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::Roff;
use settings::Declaration;

use super::{Page, roff};
use crate::cli::{DEFAULT_FILE, EXIT_CODES, STEERING_EXIT_CODES};

const SECTION: u8 = 1;

/// What a subcommand's page has besides its arguments.
struct More {
    command: &'static str,
    examples: &'static [(&'static str, &'static str)],
    exit: &'static [(&'static str, &'static str)],
    /// What signals do.
    signals: &'static [(&'static str, &'static str)],
}

impl More {
    /// Of a command that steers an instance.
    const fn steering(command: &'static str, examples: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            command,
            examples,
            exit: STEERING_EXIT_CODES,
            signals: &[],
        }
    }
}

const SERVE_EXIT: &[(&str, &str)] = &[
    ("0", "It was told to stop."),
    (
        "1",
        "It could not start, or standard error could not be used: one line says why.",
    ),
    (
        "2",
        "What was typed, the file or the Python that was named can't be used.",
    ),
];

const TOP_EXIT: &[(&str, &str)] = &[
    ("0", "It was told to end."),
    ("1", "The instance did not answer, or the terminal could not be used."),
    (
        "2",
        "There was nothing to watch, or no terminal: no instance, more than one, or one that this user may not see; or what was typed makes no sense.",
    ),
];

const MORE: &[More] = &[
    More {
        command: "serve",
        examples: &[
            (
                "One application:",
                "wsgi-fpm serve mysite.wsgi:application --listen /run/wsgi-fpm/mysite.sock",
            ),
            ("The pools of a file:", "wsgi-fpm serve -c /etc/wsgi-fpm/wsgi-fpm.toml"),
        ],
        exit: SERVE_EXIT,
        signals: &[
            (
                "SIGTERM",
                "Stops: running requests end, within --stop-timeout. A second one ends them at once.",
            ),
            ("SIGINT, SIGQUIT", "Ends at once."),
            (
                "SIGHUP",
                "Loads the application anew; with a file, reads it and applies what has changed. Pools whose last version has failed are tried again. No request is lost.",
            ),
            (
                "SIGUSR2",
                "The program on disk takes over in the same process, and loads every application anew. No request is lost; if it can't, the old one goes on.",
            ),
            (
                "SIGTTIN, SIGTTOU",
                "One worker more, one less, in each pool, within the range of --workers.",
            ),
        ],
    },
    More {
        command: "dev",
        examples: &[("On http://127.0.0.1:8000/:", "wsgi-fpm dev mysite.wsgi:application")],
        exit: SERVE_EXIT,
        signals: &[],
    },
    More {
        command: "check",
        examples: &[
            ("Before a reload:", "wsgi-fpm check -c /etc/wsgi-fpm/wsgi-fpm.toml"),
            ("Where the values of a pool come from:", "wsgi-fpm check --show blog"),
        ],
        exit: &[
            ("0", "All is well."),
            ("1", "A pool can't start."),
            ("2", "Something is wrong with the file."),
        ],
        signals: &[],
    },
    More {
        command: "config",
        examples: &[
            (
                "A site of nginx:",
                "wsgi-fpm config nginx mysite.wsgi:application --server-name blog.example.org",
            ),
            ("A unit of systemd:", "wsgi-fpm config systemd mysite.wsgi:application"),
            ("A file with every option:", "wsgi-fpm config reference"),
        ],
        exit: &[],
        signals: &[],
    },
    More {
        command: "ping",
        examples: &[
            (
                "Whether a page works:",
                "wsgi-fpm ping /run/wsgi-fpm/blog.sock /health --expect 2xx",
            ),
            ("Whether anybody is there:", "wsgi-fpm ping 127.0.0.1:9000"),
            (
                "php-fpm, with ping.path = /ping:",
                "wsgi-fpm ping /run/php/php-fpm.sock /ping --script-filename /ping",
            ),
        ],
        exit: EXIT_CODES,
        signals: &[],
    },
    More {
        command: "status",
        examples: &[
            ("Of the only instance:", "wsgi-fpm status"),
            ("What each thread of a pool runs:", "wsgi-fpm status blog"),
            (
                "For a program:",
                "wsgi-fpm status --json --config /etc/wsgi-fpm/wsgi-fpm.toml",
            ),
        ],
        exit: STEERING_EXIT_CODES,
        signals: &[],
    },
    More {
        command: "top",
        examples: &[
            ("Of the only instance:", "wsgi-fpm top"),
            ("One pool, every five seconds:", "wsgi-fpm top blog --interval 5"),
        ],
        exit: TOP_EXIT,
        signals: &[],
    },
    More::steering(
        "reload",
        &[("After a new version of it was put in place:", "wsgi-fpm reload blog")],
    ),
    More::steering(
        "stop",
        &[("Without waiting for running requests:", "wsgi-fpm stop --now")],
    ),
    More::steering(
        "upgrade",
        &[("After a new wsgi-fpm was installed:", "wsgi-fpm upgrade")],
    ),
    More::steering(
        "recycle",
        &[("After a cache has grown too large:", "wsgi-fpm recycle blog")],
    ),
    More::steering(
        "scale",
        &[("For an hour with many visitors:", "wsgi-fpm scale blog 4..16")],
    ),
    More::steering("stacks", &[("Why is it so slow?", "wsgi-fpm stacks blog")]),
    More::steering(
        "logs",
        &[
            ("Of one pool:", "wsgi-fpm logs --follow blog"),
            ("For logrotate:", "wsgi-fpm logs --reopen"),
        ],
    ),
    More::steering("kill", &[("As the status names it:", "wsgi-fpm kill 4243-0-17")]),
];

/// Of `command` and its subcommands.
pub fn pages(mut command: Command) -> Vec<Page> {
    command.build();
    let main = std::iter::once(&command);
    main.chain(command.get_subcommands())
        .map(|command| page(command.clone()))
        .collect()
}

fn page(command: Command) -> Page {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let is_main = command.has_subcommands();
    let more = MORE.iter().find(|more| more.command == command.get_name());
    let mut command = command.mut_args(described).after_help(Resettable::Reset);
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let man = Man::new(command.override_usage(usage)).section(SECTION.to_string());
    let mut text = Vec::new();
    // Writing into memory can't fail.
    let _infallible = man.render(&mut text);
    let mut rest = Roff::new();
    if let Some(more) = more {
        add(&mut rest, more);
    }
    match is_main {
        true => {
            roff::list(
                &mut rest,
                "FILES",
                &[(DEFAULT_FILE, "What wsgi-fpm serve reads if it is given nothing else.")],
            );
            roff::see_also(&mut rest, &["wsgi-fpm.toml(5)", "https://github.com/wsgi-fpm/wsgi-fpm"]);
        }
        false => roff::see_also(&mut rest, &["wsgi-fpm(1)", "wsgi-fpm.toml(5)"]),
    }
    let text = roff::titled(&String::from_utf8_lossy(&text), &name, SECTION) + &rest.to_roff();
    Page {
        name,
        section: SECTION,
        text,
    }
}

fn add(page: &mut Roff, more: &More) {
    for (title, entries) in [("SIGNALS", more.signals), ("EXIT STATUS", more.exit)] {
        if !entries.is_empty() {
            roff::list(page, title, entries);
        }
    }
    for (at, (what, line)) in more.examples.iter().enumerate() {
        match at {
            0 => roff::section(page, "EXAMPLES", &[what]),
            _ => {
                page.control("PP", []);
                page.text([clap_mangen::roff::roman(*what)]);
            }
        }
        page.control("PP", []);
        roff::example(page, &[line]);
    }
}

/// With everything that is declared of an option, where its help is the declared one.
fn described(argument: Arg) -> Arg {
    let Some(option) = settings::find(argument.get_id().as_str()) else {
        return argument;
    };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    match help.strip_prefix(&option.help()) {
        Some(default) => {
            let text = roff::plain(&format!("{}{default}. {}", option.effect(), when(option)));
            argument.long_help(text)
        }
        None => argument,
    }
}

/// `When to change it: ...`, or nothing.
pub fn when(option: &Declaration) -> String {
    match option.when {
        "" => String::new(),
        when => format!("When to change it: {when}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page_with_all_of_its_options() {
        let pages = pages(crate::pages::command());
        let page = |name: &str| &pages.iter().find(|page| page.name == name).unwrap().text;
        for option in
            settings::all().filter(|option| option.entries.has(settings::Entries::SERVE) && option.key != "app")
        {
            let long = option.long().replace('-', "\\-");
            assert!(page("wsgi-fpm-serve").contains(&format!("\\-\\-{long}\\fR")), "{long}");
        }
        assert!(page("wsgi-fpm-ping").contains("EXIT STATUS"));
        assert!(page("wsgi-fpm").contains("wsgi\\-fpm\\-check(1)"));
        for more in MORE {
            page(&format!("wsgi-fpm-{}", more.command));
        }
    }
}
