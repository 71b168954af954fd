//! What holds for every option.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use settings::{Entries, Form};

#[test]
fn keys_are_unique_and_written_alike() {
    let mut keys = BTreeSet::new();
    for option in settings::all() {
        assert!(keys.insert(option.key), "{} is declared twice", option.key);
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(option.key.chars().all(plain), "{}", option.key);
    }
}

#[test]
fn every_option_says_what_it_is_and_when_to_change_it() {
    for option in settings::all() {
        let (key, help) = (option.key, option.help());
        assert!(
            !help.is_empty() && !help.ends_with('.') && !help.contains("  "),
            "{key}: {help:?}"
        );
        assert!(help.len() <= 240, "{key}: one sentence, not {} bytes", help.len());
        assert!(!option.when.is_empty(), "{key}");
        assert!(
            !option.effect().ends_with('.') && option.effect().starts_with(&help),
            "{key}"
        );
        assert!(option.form == Form::Switch || !option.value.is_empty(), "{key}");
    }
}

#[test]
fn defaults_are_values_of_their_options() {
    for option in settings::all() {
        for default in [option.default, option.default_of_scripts].into_iter().flatten() {
            let checked = (option.check)(OsStr::new(default));
            assert_eq!(checked, Ok(()), "{}", option.key);
        }
        // Nobody is left without knowing what holds.
        let has_default = option.default.is_some() || !option.otherwise.is_empty();
        let may_be_nothing = matches!(option.form, Form::List | Form::Table | Form::One);
        assert!(has_default || may_be_nothing, "{}", option.key);
    }
}

#[test]
fn what_excludes_another_is_excluded_by_it() {
    for option in settings::all() {
        for other in option.excludes {
            let other = settings::find(other).expect("an option");
            assert!(other.excludes.contains(&option.key), "{} and {}", option.key, other.key);
        }
    }
}

#[test]
fn default_of_a_script_holds_where_a_web_server_starts_the_process() {
    let option = settings::find("stop_timeout").expect("an option");
    for (entry, default) in [
        (Entries::SERVE, "30s"),
        (Entries::POOL, "30s"),
        (Entries::DEV, "30s"),
        (Entries::CGI, "2500ms"),
        (Entries::FASTCGI, "2500ms"),
    ] {
        assert_eq!(option.default_for(entry), Some(default), "{entry:?}");
    }
}

#[test]
fn help_ends_where_the_first_paragraph_does() {
    let option = settings::find("idle_timeout").expect("an option");
    assert_eq!(option.help(), "Longest idle time of a kept connection");
    assert_eq!(
        option.effect(),
        "Longest idle time of a kept connection. Longer than nginx's `keepalive_timeout` (60 s), so that nginx closes first"
    );
}
