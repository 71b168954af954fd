//! The command line: what can be typed, and the help. Values are checked one by one here; what they mean together is
//! `config`'s business. `docs/options.md` describes every option of this file.

mod admin;
pub mod arguments;
mod message;
mod ping;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use settings::values::{HostName, Mount, PoolName, TcpAddress, Timeout};

use crate::host::HostArgs;
pub use admin::{
    InstanceArgs, KillArgs, LogsArgs, RecycleArgs, ReloadArgs, STEERING_EXIT_CODES, ScaleArgs, StacksArgs, StatusArgs,
    StopArgs, TopArgs, UpgradeArgs, WhichArgs,
};
use arguments::{CgiOptions, DevOptions, FastCgiOptions, ServeOptions};
pub use message::one_line;
pub use ping::{EXIT_CODES, PingArgs};

/// Where the configuration file is looked for.
pub const DEFAULT_FILE: &str = "/etc/wsgi-fpm/wsgi-fpm.toml";

/// PHP-FPM for Python: runs any WSGI application behind any web server that speaks FastCGI.
#[derive(Debug, Parser)]
#[command(name = "wsgi-fpm", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve applications over FastCGI: APP, or the pools of a configuration file
    Serve(Box<ServeArgs>),
    /// Serve an application over HTTP on this machine, for development: reloads when a file of the project changes
    Dev(Box<DevArgs>),
    /// Answer one CGI request; a script with `#!/usr/bin/env wsgi-fpm` does so by itself
    Cgi(CgiOptions),
    /// Serve on the listening socket that a web server has left on standard input, in this one process; a script with
    /// `#!/usr/bin/env wsgi-fpm` does so by itself
    Fastcgi(FastCgiOptions),
    /// Say what is wrong with a configuration file, and import the application of each pool, without serving
    Check(CheckArgs),
    /// Print the configuration of a web server or a systemd unit for an application, or a configuration file with every option
    Config(Box<ConfigArgs>),
    /// Ask a FastCGI responder, ours or another, for a page or its values; the exit code says how it is
    Ping(Box<PingArgs>),
    /// Show how a running instance is: its pools, or one of them with its workers and what each thread runs
    Status(StatusArgs),
    /// Watch a running instance: its pools, what each thread runs and for how long, rates, latencies, memory
    Top(TopArgs),
    /// Have a running instance load its applications anew, and wait; prints the traceback of one that can't be loaded
    Reload(ReloadArgs),
    /// End a running instance, or one pool of it, and wait until it has ended
    Stop(StopArgs),
    /// Put the program on disk in the place of a running instance, and wait until its pools serve
    Upgrade(UpgradeArgs),
    /// Replace all workers of a pool, one after the other, without cutting a request
    Recycle(RecycleArgs),
    /// Have another number of workers until the next reload
    Scale(ScaleArgs),
    /// Print what the Python threads of a pool's workers do, without disturbing them
    Stacks(StacksArgs),
    /// Follow the logs of a running instance, or have it open log files anew
    Logs(LogsArgs),
    /// End one request: RequestTimeout in it, and 504 for its client
    Kill(KillArgs),
    /// Write the manual pages into a directory
    Man(ManArgs),
    /// Print what a shell needs to complete options, files and names of pools
    Completions(CompletionsArgs),
    /// Run Python as somebody, and inside this program; the supervisor starts its leaders with it
    #[command(hide = true)]
    Host(HostArgs),
    /// Take the place of the supervisor that runs this, or say whether it could be done; the supervisor itself does so
    #[command(hide = true)]
    Resume(ResumeArgs),
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Form of what is passed on
    #[arg(long)]
    pub form: u32,
    /// Path of this program, where the next upgrade puts another one
    #[arg(long)]
    pub program: PathBuf,
    /// Descriptor of what is passed on; without it there is only the question
    #[arg(long)]
    pub state: Option<i32>,
    /// Descriptor of the program that passes it on
    #[arg(long, requires = "state")]
    pub back: Option<i32>,
    /// Why another program has not taken over: this one has its place back
    #[arg(long, requires = "state")]
    pub refused: Option<String>,
    /// What was typed
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(flatten)]
    pub options: DevOptions,
    /// Address of the HTTP preview: 127.0.0.1:8000, [::1]:8000 or :8000; others than loopback with --allow-remote
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8000",
        help_heading = "Preview"
    )]
    pub bind: TcpAddress,
    /// Host name that requests may be for, besides those of this machine, such as blog.test; .blog.test for all names that
    /// end so; can be repeated
    #[arg(long, value_name = "NAME", help_heading = "Preview")]
    pub allow_host: Vec<HostName>,
    /// Let --bind name any address, in a container for instance: tracebacks and code are visible to everybody who reaches it
    #[arg(long, help_heading = "Preview")]
    pub allow_remote: bool,
    /// Do not reload when a file of the project changes
    #[arg(long, help_heading = "Preview")]
    pub no_reload: bool,
}

#[derive(Debug, Args)]
// APP or a file; without either, the file where it is looked for.
#[command(mut_arg("app", |app| app.required(false)))]
pub struct ServeArgs {
    /// Serve the pools that this file describes [default without APP: /etc/wsgi-fpm/wsgi-fpm.toml]
    #[arg(short, long, value_name = "FILE", help_heading = "Application")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub options: ServeOptions,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub config: PathBuf,
    /// Print what holds for POOL, or for the server and all pools, in the form of the file, and where each value comes from
    #[arg(long, value_name = "POOL", num_args = 0..=1)]
    pub show: Option<Option<PoolName>>,
    /// Longest time that the import of one application may take; 0: no limit
    #[arg(long, value_name = "TIME", default_value = "1m")]
    pub timeout: Timeout,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where man1 and man5 are made; `man -M DIR wsgi-fpm` reads them there
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// For ~/.local/share/bash-completion/completions/wsgi-fpm
    Bash,
    /// For a file _wsgi-fpm in a directory of $fpath
    Zsh,
    /// For ~/.config/fish/completions/wsgi-fpm.fish
    Fish,
}

#[derive(Debug, Args)]
// Here there is a default, the same for the unit and for the web servers.
#[command(
    mut_arg("listen", |listen| listen.help(LISTEN_HERE)),
    mut_arg("user", |user| user.help("systemd: who runs the application [default: www-data]")),
    mut_arg("app", |app| app.required(false).help(APP_HERE))
)]
pub struct ConfigArgs {
    /// What to write for
    #[arg(value_enum, value_name = "SERVER")]
    pub server: WebServer,
    /// Write for the pools of this configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub options: ServeOptions,
    #[command(flatten)]
    pub site: SiteOptions,
}

const APP_HERE: &str =
    "The application, as for serve; with --config the name of one pool [default: all pools of the file]";
const LISTEN_HERE: &str = "As for serve; the web server connects to the first address that it can reach [default: \
                           /run/wsgi-fpm-NAME/wsgi.sock]";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WebServer {
    Nginx,
    /// mod_proxy_fcgi
    Apache,
    /// mod_fcgid, which starts the application itself
    ApacheFcgid,
    Lighttpd,
    Caddy,
    Haproxy,
    /// No web server: the unit that runs `wsgi-fpm serve` for the others
    Systemd,
    /// No web server and no application: a configuration file, every option in it with its meaning and default
    Reference,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Web server")]
pub struct SiteOptions {
    /// Files that the web server sends itself, such as /static=/srv/blog/static; can be repeated
    #[arg(long = "static", value_name = "URL=DIR", value_parser = parse_static)]
    pub statics: Vec<(String, PathBuf)>,
    /// Host name of the site; can be repeated [default: every name that no other site has]
    #[arg(long = "server-name", value_name = "NAME", value_parser = parse_server_name)]
    pub server_names: Vec<String>,
    /// Where the web server listens [default: 80; with --tls-cert 443; lighttpd: its own ports; Caddy with a name: 443]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Certificate of the site, with those that lead to its authority, in PEM: the site is HTTPS, on port 443 unless --port
    /// says otherwise, and port 80 leads there
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// systemd and apache-fcgid: path of wsgi-fpm [default: of this one]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

fn parse_static(typed: &str) -> Result<(String, PathBuf), &'static str> {
    const WRONG: &str = "write URL=DIR with a prefix that starts with a slash, such as /static=/srv/blog/static";
    let (url, directory) = typed.split_once('=').ok_or(WRONG)?;
    let url: Mount = url.parse().map_err(|_| WRONG)?;
    if url.as_str().is_empty() || directory.is_empty() {
        return Err(WRONG);
    }
    Ok((url.as_str().to_owned(), directory.into()))
}

fn parse_server_name(typed: &str) -> Result<String, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if typed.is_empty() || typed.starts_with(['.', '-']) || !typed.chars().all(allowed) {
        return Err("write one host name, such as blog.example.org");
    }
    Ok(typed.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
