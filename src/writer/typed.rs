//! The options of `serve` as they were typed, so that a unit can say them again.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use crate::cli::ServeArgs;
use crate::script::BlockOption;

/// Options on the command line, in the order of the help; defaults are not among them.
#[derive(Debug, Clone, Default)]
pub struct Typed(pub Vec<TypedOption>);

#[derive(Debug, Clone)]
pub struct TypedOption {
    /// Without its dashes.
    pub name: String,
    /// Nothing for a flag; several where the option was repeated.
    pub values: Vec<OsString>,
}

impl Typed {
    /// Without those that a script says itself: they were added to what was typed.
    pub fn without(mut self, block: &[BlockOption]) -> Self {
        let is_in_block = |option: &TypedOption| {
            let same = |said: &BlockOption| said.long() == option.name && said.values() == option.values;
            block.iter().any(same)
        };
        self.0.retain(|option| !is_in_block(option));
        self
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|option| option.name == name)
    }
}

impl FromArgMatches for Typed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let serve = ServeArgs::augment_args(Command::new("serve"));
        let mut options = Vec::new();
        for argument in serve.get_arguments() {
            let id = argument.get_id().as_str();
            let Some(name) = argument.get_long() else { continue };
            if matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            let values = match argument.get_action().takes_values() {
                true => matches.get_raw(id).into_iter().flatten().map(OsString::from).collect(),
                false => Vec::new(),
            };
            let name = name.to_owned();
            options.push(TypedOption { name, values });
        }
        Ok(Self(options))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// No arguments of its own: those of `serve` stand beside it.
impl Args for Typed {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
