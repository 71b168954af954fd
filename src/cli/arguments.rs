//! The arguments of a command line, made from the declarations of options, and what has been typed of them.

use std::ffi::{OsStr, OsString};

use clap::builder::{OsStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use settings::declaration::PathForm;
use settings::{Declaration, Entries, Form, Said};

/// The options of one way to start an application, as they were typed; defaults are not among them.
#[derive(Debug, Clone)]
pub struct Options<const ENTRY: u8>(pub Vec<Said>);

/// Of `wsgi-fpm serve`.
pub type ServeOptions = Options<{ Entries::SERVE.bits() }>;
/// Of `wsgi-fpm dev`.
pub type DevOptions = Options<{ Entries::DEV.bits() }>;
/// Of `wsgi-fpm fastcgi`.
pub type FastCgiOptions = Options<{ Entries::FASTCGI.bits() }>;
/// Of `wsgi-fpm cgi`.
pub type CgiOptions = Options<{ Entries::CGI.bits() }>;

impl<const ENTRY: u8> Args for Options<ENTRY> {
    fn augment_args(command: Command) -> Command {
        add(command, Entries::from_bits(ENTRY))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const ENTRY: u8> FromArgMatches for Options<ENTRY> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(typed(matches, Entries::from_bits(ENTRY))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The one option without dashes.
const APP: &str = "app";

/// Adds every option of `entry` to `command`.
fn add(command: Command, entry: Entries) -> Command {
    options_of(entry).fold(command, |command, option| command.arg(argument(option, entry)))
}

/// What has been typed, in the order of the documentation; defaults are not among it.
fn typed(matches: &ArgMatches, entry: Entries) -> Vec<Said> {
    let typed = |option: &&Declaration| matches.value_source(option.key) == Some(ValueSource::CommandLine);
    options_of(entry)
        .filter(typed)
        .map(|option| Said::typed(option, values(matches, option)))
        .collect()
}

fn options_of(entry: Entries) -> impl Iterator<Item = &'static Declaration> {
    settings::all().filter(move |option| option.entries.has(entry))
}

fn values(matches: &ArgMatches, option: &Declaration) -> Vec<OsString> {
    match option.form {
        Form::Switch => Vec::new(),
        _ => matches
            .get_raw(option.key)
            .into_iter()
            .flatten()
            .map(OsStr::to_owned)
            .collect(),
    }
}

fn argument(option: &'static Declaration, entry: Entries) -> Arg {
    let argument = Arg::new(option.key).help_heading(option.section);
    let argument = match option.key {
        APP => argument.required(true),
        _ => argument.long(option.long()),
    };
    let argument = match option.form {
        Form::Switch => return argument.action(ArgAction::SetTrue).help(option.help()),
        Form::SwitchOrValue => argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_default_value(true),
        Form::One => argument.action(ArgAction::Set),
        Form::List | Form::Table => argument.action(ArgAction::Append),
    };
    let argument = argument.value_hint(hint(option));
    // Where nothing begins with a minus, what does is no other option: our own message says what to write.
    let refuses_minus = (option.check)(OsStr::new("-")).is_err();
    let argument = argument
        .value_name(option.value)
        .value_parser(parser(option))
        .allow_hyphen_values(refuses_minus);
    match (option.default_for(entry), option.otherwise) {
        (Some(default), _) => argument.default_value(default).help(option.help()),
        (None, "") => argument.help(option.help()),
        (None, _) if option.key == APP => argument.help(option.help()),
        // Marks of the documentation are none in a terminal.
        (None, otherwise) => argument.help(format!("{} [default: {}]", option.help(), otherwise.replace('`', ""))),
    }
}

/// What a shell completes.
fn hint(option: &Declaration) -> ValueHint {
    match option.path {
        // It may be a module, too, and files are what can be completed.
        _ if option.key == APP => ValueHint::FilePath,
        PathForm::Path if option.value == "DIR" => ValueHint::DirPath,
        PathForm::Path | PathForm::PathOrCommand | PathForm::Address | PathForm::Destination => ValueHint::FilePath,
        PathForm::None => ValueHint::Other,
    }
}

fn parser(option: &'static Declaration) -> ValueParser {
    if !option.choices.is_empty() {
        let words = option
            .choices
            .iter()
            .map(|choice| PossibleValue::new(choice.word).help(choice.meaning));
        return PossibleValuesParser::new(words).into();
    }
    let check = |value: OsString| (option.check)(&value).map(|()| value);
    ValueParser::new(OsStringValueParser::new().try_map(check))
}

#[cfg(test)]
mod tests {
    use settings::Layers;
    use settings::sections::{App, Limits};

    use super::*;

    fn serve(typed_words: &[&str]) -> Result<Vec<Said>, clap::Error> {
        let command = add(Command::new("serve"), Entries::SERVE);
        let words = ["serve"].iter().chain(typed_words);
        Ok(typed(&command.try_get_matches_from(words)?, Entries::SERVE))
    }

    #[test]
    fn arguments_are_consistent() {
        for entry in [Entries::SERVE, Entries::DEV, Entries::FASTCGI, Entries::CGI] {
            add(Command::new("x"), entry).debug_assert();
        }
    }

    #[test]
    fn what_is_typed_is_said_and_defaults_are_not() {
        let said = serve(&[
            "blog:app",
            "--listen",
            ":9000",
            "--listen=/run/x.sock",
            "--validate",
            "--env",
            "A=b",
        ])
        .unwrap();
        let said: Vec<_> = said.iter().map(|said| (said.option.key, said.values.clone())).collect();
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            said,
            [
                ("app", words(&["blog:app"])),
                ("env", words(&["A=b"])),
                ("validate", words(&[])),
                ("listen", words(&[":9000", "/run/x.sock"])),
            ]
        );
        let mut layers = Layers::new(Entries::SERVE);
        layers.put(serve(&["blog:app", "--request-timeout", "2m"]).unwrap());
        assert_eq!(
            Limits::take(&mut layers).request_timeout.to_string(),
            "--request-timeout 2m"
        );
        assert_eq!(App::take(&mut layers).app.as_ref().unwrap().as_str(), "blog:app");
    }

    #[test]
    fn value_that_can_not_be_is_answered_with_what_to_write() {
        let error = |words: &[&str]| crate::cli::one_line(&serve(words).unwrap_err(), &[]);
        assert_eq!(
            error(&["app", "--threads", "0"]),
            "invalid value '0' for '--threads <N>': write a number from 1 to 1024"
        );
        assert_eq!(
            error(&["app", "--preload", "on"]),
            "invalid value 'on' for '--preload <WHEN>'; [possible values: auto, off]"
        );
        assert_eq!(
            error(&["app", "--workers", "-1"]),
            "invalid value '-1' for '--workers <N>': write a number from 1 to 1024, auto for one on each core, or a range such as 1..4, 0..4 or 1..auto"
        );
        assert_eq!(
            error(&["app", "--drain-timeout", "-1s"]),
            "invalid value '-1s' for '--drain-timeout <TIME>': write a number of seconds, or with ms, s, m or h, such as 10s"
        );
        // A directory may have any name: here one is missing.
        assert_eq!(
            error(&["app", "--chdir", "--threads"]),
            "a value is required for '--chdir <DIR>' but none was supplied"
        );
    }

    #[test]
    fn value_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt;
        let command = add(Command::new("serve"), Entries::SERVE);
        let words = [b"serve".to_vec(), b"app".to_vec(), b"--chdir=/srv/caf\xe9".to_vec()].map(OsString::from_vec);
        let said = typed(&command.try_get_matches_from(words).unwrap(), Entries::SERVE);
        assert_eq!(said[1].values, [OsString::from_vec(b"/srv/caf\xe9".to_vec())]);
    }

    #[test]
    fn options_are_for_whom_they_are_declared() {
        let has = |entry: Entries, key: &str| options_of(entry).any(|option| option.key == key);
        assert!(has(Entries::SERVE, "listen") && !has(Entries::FASTCGI, "listen") && !has(Entries::DEV, "listen"));
        assert!(has(Entries::CGI, "cgi_variable") && !has(Entries::SERVE, "cgi_variable"));
        assert!(!has(Entries::SERVE, "keep_env"));
    }
}
