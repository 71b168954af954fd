//! What was typed becomes a configuration that can't be wrong: every check that needs no Python and no socket.

pub mod address;
mod app;
pub mod units;

use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pool::denied::Denied;
use pool::log::{Format, Level, LogSettings};
use pool::settings::{Entry, Limits, ListenerKind, PathSource, Paths, Settings};

use crate::cli::{
    self, AppOptions, DevArgs, FrontOptions, LimitOptions, ListenOptions, LogFormat, LogLevel, LogOptions, PathFrom,
    Preload, ProcessOptions, ScriptArgs, ServeArgs,
};
use crate::config::address::Address;
use crate::config::app::{app_file, pool_name};

pub use app::file_part;

/// mod_fcgid kills three seconds after it has asked to stop.
const SCRIPT_STOP_TIMEOUT: Duration = Duration::from_millis(2500);
/// SPEC A31, FastCGI 1.0 section 3.2.
const ALLOWED_PEERS: &str = "FCGI_WEB_SERVER_ADDRS";
/// What `flask run --debug` sets: errors are raised, and templates looked up anew.
const FLASK_DEBUG: &str = "FLASK_DEBUG";
/// The log and the scoreboard travel with the listeners.
const MAX_LISTENERS: usize = pool::control::MAX_FDS - pool::control::OWN_FDS;

/// One application and how it is to be served.
#[derive(Debug)]
pub struct Pool {
    /// Complete but for `listeners`, which are known when the sockets are.
    pub settings: Settings,
    pub listen: Vec<Address>,
    pub socket: SocketOptions,
    pub python: Option<PathBuf>,
    pub env: Vec<(String, String)>,
    /// As the administrator wants it; `settings.preload` is as the application allows it.
    pub preload: bool,
}

/// How sockets are made.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    pub mode: u32,
    pub owner: Option<u32>,
    pub group: Option<u32>,
    pub backlog: i32,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("the current directory is unknown, name one with --chdir: {0}")]
    CurrentDirectory(io::Error),
    #[error("{what} {}: {denied}", .path.display())]
    Denied {
        what: &'static str,
        path: PathBuf,
        denied: Denied,
    },
    #[error("--chdir {}: {error}", .path.display())]
    Chdir { path: PathBuf, error: io::Error },
    #[error("--chdir {}: not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("the application {app}: the file {} does not exist", .path.display())]
    NoSuchFile { app: String, path: PathBuf },
    #[error("{what} {}: the name is not UTF-8, which Python and the log need it to be; rename it", .path.display())]
    NotUtf8 { what: &'static str, path: PathBuf },
    #[error("--listen-owner {0}: no such user")]
    NoSuchUser(String),
    #[error("--listen-group {0}: no such group")]
    NoSuchGroup(String),
    #[error("--listen: at most {MAX_LISTENERS} addresses are possible")]
    TooManyListeners,
    #[error("--listen {0}: named twice")]
    ListenTwice(Address),
    #[error(
        "{ALLOWED_PEERS}: {0:?} is not an IP address; write the addresses of the web servers with commas between \
             them, or unset the variable"
    )]
    AllowedPeers(String),
    #[error("--strip-script: has no meaning with --mount, which says itself where the application is; leave one out")]
    StripScriptBelowMount,
    #[error("--{option}: at least {least} is needed")]
    TooSmall { option: &'static str, least: u64 },
    #[error(
        "standard input is no listening socket: a web server starts this command (mod_fcgid, lighttpd's bin-path, \
             spawn-fcgi); to listen here, use serve"
    )]
    NoListenerOnStdin,
    #[error(
        "REQUEST_METHOD is not set, so this is no CGI request: a web server starts this command; to try the \
             application, use dev"
    )]
    NoCgiRequest,
    #[error(
        "--bind {0}: the preview shows tracebacks and code to whoever reaches it, so it listens on loopback addresses alone; \
             where others are meant, as in a container, add --allow-remote"
    )]
    NotLoopback(std::net::SocketAddr),
}

impl Pool {
    /// # Errors
    /// Names the option that can't be as it was typed.
    pub fn for_serve(args: ServeArgs) -> Result<Self, ConfigError> {
        Self::for_service(args, Runs::Here)
    }

    /// For a configuration that is only written: directories, files and accounts of the machine that it is for may be
    /// missing here.
    ///
    /// # Errors
    /// Names the option that can't be as it was typed.
    pub fn for_config(args: ServeArgs) -> Result<Self, ConfigError> {
        Self::for_service(args, Runs::Elsewhere)
    }

    fn for_service(args: ServeArgs, runs: Runs) -> Result<Self, ConfigError> {
        let log = log_settings(&args.log, args.access_log);
        let limits = limits(&args.limits, StartedBy::Administrator)?;
        let mut pool = Self::new(args.app, runs, &args.processes, cli::cores(), limits, log)?;
        (pool.listen, pool.socket) = listen(args.listen, runs)?;
        pool.face(args.front)?;
        pool.settings.allowed_peers = allowed_peers_from_environment()?;
        Ok(pool)
    }

    /// For a process that a web server has started: on the listening socket of this kind, or for one CGI request.
    ///
    /// # Errors
    /// Names the option that can't be as it was typed.
    pub fn for_script(mut args: ScriptArgs, listener: Option<ListenerKind>) -> Result<Self, ConfigError> {
        // A web server's working directory says nothing; the script's own is where Python would look.
        if args.app.chdir.is_none()
            && let Some(directory) = app_file(&args.app.app).and_then(|file| Path::new(file).parent())
        {
            // A bare name has no directory, which is the current one.
            let directory = match directory.as_os_str().is_empty() {
                true => std::env::current_dir(),
                false => std::path::absolute(directory),
            };
            let directory = directory.map_err(ConfigError::CurrentDirectory)?;
            let file = Path::new(&args.app.app).file_name().unwrap_or_default();
            args.app.app = directory.join(file).to_string_lossy().into_owned();
            args.app.chdir = Some(directory);
        }
        let log = log_settings(&args.log, args.access_log);
        let mut pool = Self::new(
            args.app,
            Runs::Here,
            &args.processes,
            1,
            limits(&args.limits, StartedBy::WebServer)?,
            log,
        )?;
        pool.settings.workers = 1;
        pool.settings.entry = match listener {
            Some(_) => Entry::FastCgi,
            None => Entry::Cgi,
        };
        pool.settings.paths.as_sent = true;
        pool.face(args.front)?;
        pool.settings.listeners = listener.into_iter().collect();
        if listener.is_some() {
            pool.settings.allowed_peers = allowed_peers_from_environment()?;
        }
        Ok(pool)
    }

    /// `socket` is in a directory that nobody else can enter.
    ///
    /// # Errors
    /// Names the option that can't be as it was typed.
    pub fn for_dev(args: DevArgs, socket: PathBuf) -> Result<Self, ConfigError> {
        let bind = args.bind.0;
        if !bind.ip().is_loopback() && !args.allow_remote {
            return Err(ConfigError::NotLoopback(bind));
        }
        let log = log_settings(&args.log, true);
        let limits = limits(&args.limits, StartedBy::Administrator)?;
        let mut pool = Self::new(args.app, Runs::Here, &args.processes, 1, limits, log)?;
        pool.listen = vec![Address::Unix(socket)];
        pool.settings.debug = true;
        // Flask answers errors with a bare page of its own, unless this lets them through.
        let is_typed = pool.env.iter().any(|(name, _)| name == FLASK_DEBUG);
        if !is_typed && std::env::var_os(FLASK_DEBUG).is_none() {
            pool.env.push((FLASK_DEBUG.into(), "1".into()));
        }
        Ok(pool)
    }

    /// The application's file, if it was named by one.
    pub fn app_file(&self) -> Option<PathBuf> {
        app_file(&self.settings.app).map(|file| self.settings.chdir.join(file))
    }

    /// What the web server sends, and how far it is to be believed.
    fn face(&mut self, front: FrontOptions) -> Result<(), ConfigError> {
        let settings = &mut self.settings;
        if front.strip_script && settings.paths.mount.is_some() {
            return Err(ConfigError::StripScriptBelowMount);
        }
        settings.paths.strip_script = front.strip_script;
        settings.paths.source = match front.path_source {
            PathFrom::Params => PathSource::Params,
            PathFrom::RequestUri => PathSource::RequestUri,
        };
        settings.authorization_from_redirect = front.authorization_from_redirect;
        settings.trusted_proxies = front.trusted_proxies;
        settings.strip_sendfile_headers = front.strip_sendfile_headers;
        Ok(())
    }

    /// Everything that does not depend on how the application is reached.
    fn new(
        app: AppOptions,
        runs: Runs,
        processes: &ProcessOptions,
        workers: u32,
        limits: Limits,
        log: LogSettings,
    ) -> Result<Self, ConfigError> {
        let chdir = app::working_directory(app.chdir, runs)?;
        let pythonpath = app::pythonpath(&app.pythonpath, runs)?;
        if runs == Runs::Here {
            app::check_file(&app.app, &chdir)?;
        }
        let settings = Settings {
            pool: app.name.unwrap_or_else(|| pool_name(&app.app)),
            entry: Entry::Pool,
            chdir,
            pythonpath,
            workers: processes.workers.unwrap_or(workers),
            threads: processes.threads,
            preload: app.preload == Preload::Auto,
            listeners: Vec::new(),
            inherited_listeners: Vec::new(),
            paths: Paths {
                mount: app.mount,
                ..Paths::default()
            },
            authorization_from_redirect: false,
            trusted_proxies: None,
            strip_sendfile_headers: false,
            debug: false,
            validate: app.validate,
            allowed_peers: None,
            cgi_variables: app.cgi_variable,
            limits,
            log,
            app: app.app,
        };
        Ok(Self {
            preload: settings.preload,
            settings,
            listen: Vec::new(),
            socket: SocketOptions::private(),
            python: app.python.map(|python| app::utf8("--python", python)).transpose()?,
            env: app.env,
        })
    }
}

/// Where an application runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// On this machine, as this user.
    Here,
    Elsewhere,
}

impl SocketOptions {
    /// For this user alone.
    fn private() -> Self {
        Self {
            mode: 0o600,
            owner: None,
            group: None,
            backlog: 1024,
        }
    }
}

fn log_settings(options: &LogOptions, access: bool) -> LogSettings {
    let level = match options.log_level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
        LogLevel::Trace => Level::Trace,
    };
    let format = match options.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let terminal = io::IsTerminal::is_terminal(&io::stderr());
    // https://no-color.org
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    LogSettings {
        level,
        format,
        access,
        ansi: terminal && colours && format == Format::Text,
    }
}

fn listen(options: ListenOptions, runs: Runs) -> Result<(Vec<Address>, SocketOptions), ConfigError> {
    if options.listen.len() > MAX_LISTENERS {
        return Err(ConfigError::TooManyListeners);
    }
    for (i, address) in options.listen.iter().enumerate() {
        // Port 0 is a new port each time.
        let new_port = matches!(address, Address::Tcp(address) if address.port() == 0);
        if options.listen[..i].contains(address) && !new_port {
            return Err(ConfigError::ListenTwice(address.clone()));
        }
    }
    let is_here = runs == Runs::Here;
    let socket = SocketOptions {
        mode: options.listen_mode,
        owner: options.listen_owner.filter(|_| is_here).map(user).transpose()?,
        group: options.listen_group.filter(|_| is_here).map(group).transpose()?,
        backlog: options.backlog,
    };
    Ok((options.listen, socket))
}

fn user(name: String) -> Result<u32, ConfigError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match nix::unistd::User::from_name(&name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) | Err(_) => Err(ConfigError::NoSuchUser(name)),
    }
}

fn group(name: String) -> Result<u32, ConfigError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(&name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) | Err(_) => Err(ConfigError::NoSuchGroup(name)),
    }
}

fn allowed_peers_from_environment() -> Result<Option<Vec<IpAddr>>, ConfigError> {
    std::env::var_os(ALLOWED_PEERS)
        .map(|list| allowed_peers(&list))
        .transpose()
}

fn allowed_peers(list: &OsStr) -> Result<Vec<IpAddr>, ConfigError> {
    let list = list.to_string_lossy();
    list.split(',')
        .map(|address| {
            let address = address.trim();
            address.parse().map_err(|_| ConfigError::AllowedPeers(address.into()))
        })
        .collect()
}

/// Who starts the processes, which some defaults depend on.
#[derive(Debug, Clone, Copy)]
enum StartedBy {
    Administrator,
    WebServer,
}

fn limits(options: &LimitOptions, by: StartedBy) -> Result<Limits, ConfigError> {
    let size = |option, size: units::Size, least| match size.0 {
        bytes if bytes < least => Err(ConfigError::TooSmall { option, least }),
        bytes => Ok(usize::try_from(bytes).unwrap_or(usize::MAX)),
    };
    // Far more than can ever come, and sums with it don't overflow.
    let unlimited = |n: u64| if n == 0 { i64::MAX as u64 } else { n };
    let (drain_bytes, stop_timeout) = match by {
        StartedBy::Administrator => (Limits::default().drain_bytes, Limits::default().stop_timeout),
        StartedBy::WebServer => (u64::MAX, SCRIPT_STOP_TIMEOUT),
    };
    Ok(Limits {
        params_bytes: size("params-bytes", options.params_bytes, 1)?,
        params_pairs: options.params_pairs as usize,
        param_name: size("param-name", options.param_name, 1)?,
        param_value: size("param-value", options.param_value, 1)?,
        connections: options.connections as usize,
        connection_requests: unlimited(options.connection_requests),
        params_timeout: options.params_timeout.0,
        idle_timeout: options.idle_timeout.0,
        body_timeout: options.body_timeout.0,
        write_timeout: options.write_timeout.0,
        body_buffer: size("body-buffer", options.body_buffer, 0)?,
        body_memory: size("body-memory", options.body_memory, 0)?,
        body_max: unlimited(options.body_max.0),
        queue_timeout: options.queue_timeout.0,
        request_timeout: options.request_timeout.0,
        kill_timeout: options.kill_timeout.0,
        response_head: size("response-head", options.response_head, 1)?,
        drain_bytes: options.drain_bytes.map_or(drain_bytes, |typed| typed.0),
        drain_timeout: options.drain_timeout.0,
        stop_timeout: options.stop_timeout.map_or(stop_timeout, |typed| typed.0),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn serve(more: &[&str]) -> Result<Pool, ConfigError> {
        let typed = [
            "wsgi-fpm",
            "serve",
            "mysite.wsgi:application",
            "--listen",
            "/run/x.sock",
        ];
        let cli = Cli::try_parse_from(typed.iter().chain(more)).unwrap();
        let Command::Serve(args) = cli.command else {
            panic!("serve was typed");
        };
        Pool::for_serve(*args)
    }

    #[test]
    fn without_options_the_defaults_of_the_pool_hold() {
        let pool = serve(&[]).unwrap();
        assert_eq!(pool.settings.limits, Limits::default());
        assert_eq!((pool.settings.pool.as_str(), pool.settings.threads), ("mysite", 4));
        assert_eq!((pool.settings.paths, pool.socket.mode), (Paths::default(), 0o660));
        assert!(pool.settings.workers >= 1 && pool.settings.chdir.is_absolute());
    }

    #[test]
    fn script_is_stripped_unless_a_mount_says_where_the_application_is() {
        let pool = serve(&["--strip-script", "--path-source", "request-uri"]).unwrap();
        let paths = &pool.settings.paths;
        assert!(paths.strip_script && paths.source == PathSource::RequestUri && !paths.as_sent);
        for mount in ["/", "/app"] {
            let error = serve(&["--strip-script", "--mount", mount]).unwrap_err();
            assert!(matches!(error, ConfigError::StripScriptBelowMount), "{error}");
        }
    }

    #[test]
    fn zero_means_no_limit_where_there_can_be_none() {
        let pool = serve(&[
            "--body-max",
            "0",
            "--connection-requests",
            "0",
            "--request-timeout",
            "0",
        ])
        .unwrap();
        let limits = pool.settings.limits;
        assert_eq!(
            (limits.body_max, limits.connection_requests),
            (i64::MAX as u64, i64::MAX as u64)
        );
        assert_eq!(limits.request_timeout, Duration::ZERO);
        let error = serve(&["--params-bytes", "0"]).unwrap_err();
        assert_eq!(error.to_string(), "--params-bytes: at least 1 is needed");
    }

    #[test]
    fn allowed_peers_are_addresses_with_commas() {
        let peers = |list: &str| allowed_peers(OsStr::new(list)).ok();
        assert_eq!(
            peers("10.0.0.1, ::1"),
            Some(vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()])
        );
        for wrong in ["", "1.2.3", "10.0.0.1,", "localhost"] {
            assert_eq!(peers(wrong), None, "{wrong:?}");
        }
    }
}
