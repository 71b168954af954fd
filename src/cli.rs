//! The command line: what can be typed, and the help. Values are checked one by one here; what they mean together is
//! `config`'s business. `docs/options.md` describes every option of this file.

mod message;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use pool::proxies::TrustedProxies;
use pool::settings::Limits;

use crate::config::address::{Address, TcpAddress};
use crate::config::units::{Size, TimeSpan};
use crate::preview::hosts;
use crate::writer::typed::Typed;

pub use message::one_line;

/// PHP-FPM for Python: runs any WSGI application behind any web server that speaks FastCGI.
#[derive(Debug, Parser)]
#[command(name = "wsgi-fpm", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve an application over FastCGI
    Serve(Box<ServeArgs>),
    /// Serve an application over HTTP on this machine, for development: reloads when a file of the project changes
    Dev(Box<DevArgs>),
    /// Answer one CGI request; a script with `#!/usr/bin/env wsgi-fpm` does so by itself
    Cgi(Box<ScriptArgs>),
    /// Serve on the listening socket that a web server has left on standard input, in this one process; a script with
    /// `#!/usr/bin/env wsgi-fpm` does so by itself
    Fastcgi(Box<ScriptArgs>),
    /// Print the configuration of a web server, or a systemd unit, for an application
    Config(Box<ConfigArgs>),
    /// Run Python inside this program; the supervisor starts its leaders with it
    #[command(hide = true)]
    Host(HostArgs),
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub app: AppOptions,
    #[command(flatten)]
    pub listen: ListenOptions,
    #[command(flatten)]
    pub front: FrontOptions,
    #[command(flatten)]
    pub processes: ProcessOptions,
    #[command(flatten)]
    pub log: LogOptions,
    /// Log one line for each request
    #[arg(long, help_heading = "Logging")]
    pub access_log: bool,
    #[command(flatten)]
    pub limits: LimitOptions,
}

/// A process that a web server starts: everything of `serve` but listening.
#[derive(Debug, Args)]
pub struct ScriptArgs {
    #[command(flatten)]
    pub app: AppOptions,
    #[command(flatten)]
    pub front: FrontOptions,
    #[command(flatten)]
    pub processes: ProcessOptions,
    #[command(flatten)]
    pub log: LogOptions,
    /// Log one line for each request
    #[arg(long, help_heading = "Logging")]
    pub access_log: bool,
    #[command(flatten)]
    pub limits: LimitOptions,
}

#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(flatten)]
    pub app: AppOptions,
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
    #[arg(long, value_name = "NAME", value_parser = hosts::parse_name, help_heading = "Preview")]
    pub allow_host: Vec<String>,
    /// Let --bind name any address, in a container for instance: tracebacks and code are visible to everybody who reaches it
    #[arg(long, help_heading = "Preview")]
    pub allow_remote: bool,
    /// Do not reload when a file of the project changes
    #[arg(long, help_heading = "Preview")]
    pub no_reload: bool,
    #[command(flatten)]
    pub processes: ProcessOptions,
    #[command(flatten)]
    pub log: LogOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
}

#[derive(Debug, Args)]
// `serve` has to be told where to listen; here there is a default, the same for the unit and for the web servers.
#[command(mut_arg("listen", |listen| listen.required(false).help(LISTEN_HERE)))]
pub struct ConfigArgs {
    /// What to write for
    #[arg(value_enum, value_name = "SERVER")]
    pub server: WebServer,
    // Before the options themselves, which are taken out of what was typed.
    #[command(flatten)]
    pub typed: Typed,
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(flatten)]
    pub site: SiteOptions,
}

const MOST_WORKERS: u32 = 1024;

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
}

#[derive(Debug, Args)]
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
    /// systemd: who runs the application
    #[arg(long, value_name = "USER", default_value = "www-data", value_parser = parse_account)]
    pub user: String,
    /// systemd: the group of the same [default: the user's own]
    #[arg(long, value_name = "GROUP", value_parser = parse_account)]
    pub group: Option<String>,
    /// systemd and apache-fcgid: path of wsgi-fpm [default: of this one]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct HostArgs {
    #[arg(long)]
    pub libpython: PathBuf,
    #[arg(long)]
    pub python: PathBuf,
    /// The version that the interpreter reports, "3.11.7": the library must report the same
    #[arg(long)]
    pub python_version: String,
    #[arg(long)]
    pub engine: PathBuf,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Application")]
pub struct AppOptions {
    /// The application: module:callable, module, path/to/file.py[:callable] or module:factory()
    #[arg(value_name = "APP", value_parser = NonEmptyStringValueParser::new())]
    pub app: String,
    /// Python to use: a virtual environment, an installation's directory or an executable [default: $VIRTUAL_ENV, else
    /// .venv in the working directory, else python3 on PATH]
    #[arg(long, value_name = "DIR_OR_EXE")]
    pub python: Option<PathBuf>,
    /// Working directory of the application, and first entry of sys.path [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<PathBuf>,
    /// Environment variable for the application; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_variable)]
    pub env: Vec<(String, String)>,
    /// Further entry of sys.path, after the working directory; can be repeated
    #[arg(long, value_name = "DIR")]
    pub pythonpath: Vec<PathBuf>,
    /// URL prefix under which the application lives, such as /app [default: the whole site; where a web
    /// server starts the process, as it splits the path]
    #[arg(long, value_name = "PREFIX", value_parser = parse_mount)]
    pub mount: Option<String>,
    /// Under CGI: environment variable that belongs to the request, such as one of Apache's SetEnv; PREFIX* for all that
    /// begin so; can be repeated
    #[arg(long, value_name = "NAME")]
    pub cgi_variable: Vec<String>,
    /// Name of the pool in logs and process titles [default: from APP]
    #[arg(long, value_parser = parse_name)]
    pub name: Option<String>,
    /// Check every request and response with wsgiref.validate
    #[arg(long)]
    pub validate: bool,
    /// Load the application once and share it with all workers by forking, where it allows that
    #[arg(long, value_enum, default_value_t = Preload::Auto)]
    pub preload: Preload,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preload {
    /// Unless importing it starts threads or processes or opens files or sockets
    Auto,
    /// Each worker imports it
    Off,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub struct ListenOptions {
    /// Where the web server connects: /path/to.sock, unix:/path, 127.0.0.1:9000, [::1]:9000, :9000 (loopback) or fd:3
    /// (inherited); can be repeated
    #[arg(long, value_name = "ADDRESS", required = true)]
    pub listen: Vec<Address>,
    /// Permissions of unix sockets, octal
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = parse_mode)]
    pub listen_mode: u32,
    /// Owner of unix sockets, a name or number [default: whoever starts wsgi-fpm]
    #[arg(long, value_name = "USER")]
    pub listen_owner: Option<String>,
    /// Group of unix sockets, a name or number [default: that of whoever starts wsgi-fpm]
    #[arg(long, value_name = "GROUP")]
    pub listen_group: Option<String>,
    /// Connections that wait in the kernel for a free thread; Linux caps it at net.core.somaxconn
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(i32).range(1..))]
    pub backlog: i32,
}

/// What has to be known of the web server, and of what stands in front of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Web server")]
pub struct FrontOptions {
    /// Where the path comes from: the params that the web server has decoded and rewritten, or the URL as the client
    /// sent it, which keeps // and knows no rewriting
    #[arg(long, value_enum, value_name = "SOURCE", default_value_t = PathFrom::Params)]
    pub path_source: PathFrom,
    /// Take the script's file name out of SCRIPT_NAME where the URL does not show it: for rewriting that hides it
    #[arg(long)]
    pub strip_script: bool,
    /// Take HTTP_AUTHORIZATION from REDIRECT_HTTP_AUTHORIZATION or Authorization, where Apache puts it
    #[arg(long)]
    pub authorization_from_redirect: bool,
    /// Proxies in front of the web server whose X-Forwarded-For, -Proto and -Port are believed: addresses, networks and
    /// the word unix, with commas between them
    #[arg(long, value_name = "LIST")]
    pub trusted_proxies: Option<TrustedProxies>,
    /// Leave X-Accel-*, X-Sendfile* and X-LIGHTTPD-send-* out of responses: they make web servers send any file that
    /// the application names
    #[arg(long)]
    pub strip_sendfile_headers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PathFrom {
    /// SCRIPT_NAME and PATH_INFO
    Params,
    /// REQUEST_URI, decoded once
    RequestUri,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Processes")]
pub struct ProcessOptions {
    /// Worker processes; auto: as many as this machine has cores [default: auto; 1 for dev]
    #[arg(long, value_name = "N", value_parser = parse_workers)]
    pub workers: Option<u32>,
    /// Threads of each worker: how many requests it runs at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogOptions {
    /// Least important events that are logged
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// Form of the log on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// One option for each field of [`Limits`], whose documentation says what it is for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits (sizes: 64k, 1m, 1g; times: 500ms, 10s, 5m; time 0: no limit)")]
pub struct LimitOptions {
    /// Largest params of one request; more is answered with 431
    #[arg(long, value_name = "SIZE", default_value_t = size(defaults().params_bytes))]
    pub params_bytes: Size,
    /// Most params of one request; more is answered with 431
    #[arg(long, value_name = "N", default_value_t = defaults().params_pairs as u64, value_parser = count())]
    pub params_pairs: u64,
    /// Longest name of a param; more is answered with 431
    #[arg(long, value_name = "SIZE", default_value_t = size(defaults().param_name))]
    pub param_name: Size,
    /// Longest value of a param; more is answered with 431
    #[arg(long, value_name = "SIZE", default_value_t = size(defaults().param_value))]
    pub param_value: Size,
    /// Open connections of one worker; at the limit it stops accepting
    #[arg(long, value_name = "N", default_value_t = defaults().connections as u64, value_parser = count())]
    pub connections: u64,
    /// Requests on one kept connection, then it is closed; 0: no limit
    #[arg(long, value_name = "N", default_value_t = defaults().connection_requests)]
    pub connection_requests: u64,
    /// Longest time from the start of a request to the end of its params
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(defaults().params_timeout))]
    pub params_timeout: TimeSpan,
    /// Longest idle time of a kept connection
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(defaults().idle_timeout))]
    pub idle_timeout: TimeSpan,
    /// Longest silence inside a request body
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(defaults().body_timeout))]
    pub body_timeout: TimeSpan,
    /// Longest time without progress in writing a response
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(defaults().write_timeout))]
    pub write_timeout: TimeSpan,
    /// How much of a body must have arrived before a thread takes the request
    #[arg(long, value_name = "SIZE", default_value_t = size(defaults().body_buffer))]
    pub body_buffer: Size,
    /// How much of a body is kept in memory; the rest goes to a temporary file
    #[arg(long, value_name = "SIZE", default_value_t = size(defaults().body_memory))]
    pub body_memory: Size,
    /// Largest body; more is answered with 413; 0: no limit
    #[arg(long, value_name = "SIZE", default_value_t = Size(defaults().body_max))]
    pub body_max: Size,
    /// Longest wait in front of the application, where the web server sends REQUEST_START; then 503
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(defaults().queue_timeout))]
    pub queue_timeout: TimeSpan,
    /// Longest run of one request; then 504
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(defaults().request_timeout))]
    pub request_timeout: TimeSpan,
    /// How long a request may go on after its request timeout before its worker is replaced
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(defaults().kill_timeout))]
    pub kill_timeout: TimeSpan,
    /// Largest head of a response; more is answered with 500
    #[arg(long, value_name = "SIZE", default_value_t = size(defaults().response_head))]
    pub response_head: Size,
    /// How much of a body is read and thrown away after an early response
    /// [default: 16m; all of it where a web server has started the process: mod_fcgid sends it first]
    #[arg(long, value_name = "SIZE")]
    pub drain_bytes: Option<Size>,
    /// Longest time for the same
    #[arg(long, value_name = "TIME", default_value_t = TimeSpan(defaults().drain_timeout))]
    pub drain_timeout: TimeSpan,
    /// From the request to stop until running requests are cut
    /// [default: 30s; 2500ms where a web server has started the process: mod_fcgid kills after 3 s]
    #[arg(long, value_name = "TIME")]
    pub stop_timeout: Option<TimeSpan>,
}

/// The defaults stand in one place, `pool::settings`; the help shows them from there.
fn defaults() -> Limits {
    Limits::default()
}

fn size(bytes: usize) -> Size {
    Size(bytes as u64)
}

fn count() -> clap::builder::RangedU64ValueParser {
    clap::builder::RangedU64ValueParser::new().range(1..=u64::from(u32::MAX))
}

/// As many as can run at the same time.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_WORKERS as usize) as u32)
}

fn parse_workers(typed: &str) -> Result<u32, &'static str> {
    match typed.parse() {
        Ok(workers @ 1..=MOST_WORKERS) => Ok(workers),
        Err(_) if typed == "auto" => Ok(cores()),
        _ => Err("write a number from 1 to 1024, or auto for one on each core"),
    }
}

fn parse_variable(typed: &str) -> Result<(String, String), &'static str> {
    match typed.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE"),
    }
}

fn parse_mode(typed: &str) -> Result<u32, &'static str> {
    let digits = typed.strip_prefix("0o").unwrap_or(typed);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("write an octal number from 0 to 0777, such as 0660"),
    }
}

fn parse_mount(typed: &str) -> Result<String, &'static str> {
    let mount = typed.trim_end_matches('/');
    if (!mount.is_empty() && !mount.starts_with('/')) || mount.contains("//") || mount.contains(['?', '#', '\0']) {
        return Err("write a path that starts with a slash, such as /app");
    }
    Ok(mount.to_owned())
}

fn parse_name(typed: &str) -> Result<String, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if typed.is_empty() || typed.len() > 64 || !typed.chars().all(allowed) {
        return Err("use up to 64 letters, digits, dots, dashes and underscores");
    }
    Ok(typed.to_owned())
}

fn parse_static(typed: &str) -> Result<(String, PathBuf), &'static str> {
    const WRONG: &str = "write URL=DIR with a prefix that starts with a slash, such as /static=/srv/blog/static";
    let (url, directory) = typed.split_once('=').ok_or(WRONG)?;
    let url = parse_mount(url).map_err(|_| WRONG)?;
    if url.is_empty() || directory.is_empty() {
        return Err(WRONG);
    }
    Ok((url, directory.into()))
}

fn parse_server_name(typed: &str) -> Result<String, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if typed.is_empty() || typed.starts_with(['.', '-']) || !typed.chars().all(allowed) {
        return Err("write one host name, such as blog.example.org");
    }
    Ok(typed.to_owned())
}

fn parse_account(typed: &str) -> Result<String, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if typed.is_empty() || typed.starts_with(['.', '-']) || !typed.chars().all(allowed) {
        return Err("write a name or number of the system's accounts");
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

    #[test]
    fn mount_loses_its_trailing_slash_and_needs_a_leading_one() {
        assert_eq!(parse_mount("/app/"), Ok("/app".to_owned()));
        assert_eq!(parse_mount("/"), Ok(String::new()));
        assert_eq!(parse_mount(""), Ok(String::new()));
        assert!(parse_mount("app").is_err());
        assert!(parse_mount("/a//b").is_err());
    }

    #[test]
    fn workers_are_a_number_or_auto() {
        assert_eq!(parse_workers("1024"), Ok(1024));
        assert_eq!(parse_workers("auto"), Ok(cores()));
        for wrong in ["0", "1025", "-1", "many", ""] {
            assert!(parse_workers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn listen_mode_is_octal() {
        assert_eq!(parse_mode("0660"), Ok(0o660));
        assert_eq!(parse_mode("0o600"), Ok(0o600));
        assert_eq!(parse_mode("777"), Ok(0o777));
        assert!(parse_mode("888").is_err());
        assert!(parse_mode("1777").is_err());
    }
}
