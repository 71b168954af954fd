//! `wsgi-fpm man` and `wsgi-fpm completions`: manual pages and the completions of shells, from the declarations of options.
//! Packages write them when they are built; whoever has the program alone makes them himself.

mod completions;
mod file_page;
mod man;
mod roff;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory};

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::stdout;

/// Writes every page below the directory, in the folders that man looks for: man1 and man5.
///
/// # Errors
/// A file can't be written.
pub fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let directory = &args.directory;
    for page in man::pages(command()).into_iter().chain([file_page::page()]) {
        let folder = directory.join(format!("man{}", page.section));
        std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
        write(&folder.join(format!("{}.{}", page.name, page.section)), &page.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
}

/// Prints what the shell is to read.
///
/// # Errors
/// Standard output can't be written.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let text = completions::of(args.shell, command());
    stdout::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A manual page.
struct Page {
    name: String,
    section: u8,
    text: String,
}

/// The command line, without what nobody types.
fn command() -> Command {
    let whole = Cli::command();
    let about = whole.get_about().cloned().unwrap_or_default();
    let visible = whole.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new("wsgi-fpm")
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(visible.cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_types_is_left_out() {
        let command = command();
        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        assert!(names.contains(&"serve") && names.contains(&"ping") && !names.contains(&"host"));
    }
}
