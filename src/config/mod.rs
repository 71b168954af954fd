//! What somebody has said becomes a configuration that can't be wrong: every check that needs no Python and no socket.

mod app;
pub mod environment;
mod error;
mod file;
mod listen;
pub mod pools;
pub mod report;
pub mod stamp;
pub mod words;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use contract::log::LogSettings;
use contract::settings::{Entry, ListenerKind, Settings, Size};
use settings::sections::{App, Front, Limits, Listen, Log, Processes, Recycle, Reload, RunAs, Status};
use settings::values::{AccessLog, Address, AppName, Destination, Format, PoolName, Preload, StatusAddress};
use settings::{Entries, Layers, Origin, Said, Setting};

use crate::users::Identity;
use environment::{Environment, Inherited};

pub use app::file_part;
use app::{app_file, pool_name};
pub use error::ConfigError;
pub use file::{is_of_pools, is_of_server};
pub use listen::{MAX_LISTENERS, SocketOptions};
use listen::{allowed_peers_from_environment, listen};

/// What `flask run --debug` sets: errors are raised, and templates looked up anew.
const FLASK_DEBUG: &str = "FLASK_DEBUG";
/// One application and how it is to be served.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Complete but for `listeners`, which are known when the sockets are.
    pub settings: Settings,
    pub listen: Setting<Vec<Address>>,
    pub socket: SocketOptions,
    /// What lets the web server connect to unix sockets, where nothing is said of who may.
    pub opens_sockets: Option<String>,
    pub python: Setting<Option<PathBuf>>,
    pub environment: Environment,
    /// Who its processes are.
    pub identity: Identity,
    /// Of the program that serves it alone.
    pub status: Status,
    /// What loads it anew when it changes.
    pub reload_on: Vec<PathBuf>,
}

/// Where the preview of `wsgi-fpm dev` listens.
#[derive(Debug, Clone, Copy)]
pub struct Bind {
    pub address: SocketAddr,
    pub allow_remote: bool,
}

impl Pool {
    /// `block`: what a script says of itself.
    ///
    /// # Errors
    /// Names the option that can't be as it was said.
    pub fn for_serve(block: Vec<Said>, typed: &[Said]) -> Result<Self, ConfigError> {
        // First, since somebody who does not know of it knows less of the rest.
        let has_listen = |said: &[Said]| {
            said.iter()
                .any(|said| said.option.key == "listen" && !said.values.is_empty())
        };
        if !has_listen(&block) && !has_listen(typed) {
            return Err(ConfigError::NoListen(words::typed(typed)));
        }
        Self::for_service(block, typed, Runs::Here)
    }

    /// A pool of the configuration file.
    ///
    /// # Errors
    /// Names the option that can't be as it was said.
    pub fn for_file(name: &PoolName, mut layers: Layers) -> Result<Self, ConfigError> {
        add_defaults(&mut layers);
        let mut pool = Self::new(layers, Runs::Here)?;
        pool.settings.name = name.as_str().to_owned();
        pool.settings.log.pool = Some(name.as_str().to_owned());
        pool.settings.log.name = name.as_str().to_owned();
        pool.settings.allowed_peers = allowed_peers_from_environment()?;
        Ok(pool)
    }

    /// The same for a configuration that is only written.
    ///
    /// # Errors
    /// Names the option that can't be as it was said.
    pub fn for_file_elsewhere(name: &PoolName, layers: Layers) -> Result<Self, ConfigError> {
        let mut pool = Self::new(layers, Runs::Elsewhere)?;
        pool.settings.name = name.as_str().to_owned();
        Ok(pool)
    }

    /// For a configuration that is only written: directories, files and accounts of the machine that it is for may be
    /// missing here, and the web server's own default stands in for an address.
    ///
    /// # Errors
    /// Names the option that can't be as it was said.
    pub fn for_config(block: Vec<Said>, typed: &[Said]) -> Result<Self, ConfigError> {
        Self::for_service(block, typed, Runs::Elsewhere)
    }

    fn for_service(block: Vec<Said>, typed: &[Said], runs: Runs) -> Result<Self, ConfigError> {
        let mut layers = Layers::new(Entries::SERVE);
        layers.put(block);
        layers.put(typed.to_vec());
        let mut pool = Self::new(layers, runs)?;
        pool.settings.allowed_peers = allowed_peers_from_environment()?;
        Ok(pool)
    }

    /// For a process that a web server has started: on the listening socket of this kind, or for one CGI request.
    ///
    /// # Errors
    /// Names the option that can't be as it was said.
    pub fn for_script(mut layers: Layers, listener: Option<ListenerKind>) -> Result<Self, ConfigError> {
        let access_log = layers.name(Log::access_log());
        // A web server's working directory says nothing; the script's own is where Python would look.
        if layers.said("chdir").is_none() {
            let taken = App::take(&mut layers);
            let file = taken.app.as_ref().and_then(|app| app_file(app.as_str())).map(Path::new);
            if let Some((file, directory)) = file.and_then(|file| Some((file.file_name()?, file.parent()?))) {
                let unknown = |error| ConfigError::CurrentDirectory(taken.chdir.name().to_owned(), error);
                // A bare name has no directory, which is the current one.
                let directory = match directory.as_os_str().is_empty() {
                    true => std::env::current_dir(),
                    false => std::path::absolute(directory),
                };
                let directory = directory.map_err(unknown)?;
                layers.assume("app", directory.join(file));
                layers.assume("chdir", directory);
            }
        }
        let mut pool = Self::new(layers, Runs::Here)?;
        if pool.settings.log.access_to.take().is_some() {
            // Nobody is there who could open a file anew, or wait for a socket.
            return Err(ConfigError::NoOtherAccessLog(access_log));
        }
        pool.settings.size = Size::fixed(1);
        pool.settings.entry = match listener {
            Some(_) => Entry::FastCgi,
            None => Entry::Cgi,
        };
        pool.settings.as_sent = true;
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
    pub fn for_dev(typed: Vec<Said>, bind: Bind, socket: PathBuf) -> Result<Self, ConfigError> {
        let Bind { address, allow_remote } = bind;
        if !address.ip().is_loopback() && !allow_remote {
            return Err(ConfigError::NotLoopback(address));
        }
        let mut layers = Layers::new(Entries::DEV);
        // Flask answers errors with a bare page of its own, unless this lets them through.
        if std::env::var_os(FLASK_DEBUG).is_none() {
            layers.assume("env", format!("{FLASK_DEBUG}=1"));
        }
        layers.put(typed);
        let mut pool = Self::new(layers, Runs::Here)?;
        pool.listen = pool.listen.map(|_| vec![Address::Unix(socket)]);
        pool.socket = SocketOptions::private();
        pool.opens_sockets = None;
        pool.settings.log.access = true;
        pool.settings.debug = true;
        Ok(pool)
    }

    /// What is to be said of unix sockets to which nobody but root may connect, though the application is somebody else's, since
    /// nobody has said who may.
    pub fn closed_sockets(&self) -> Option<String> {
        let what_opens = self.opens_sockets.as_ref()?;
        let is_closed = |address: &Address| matches!(address, Address::Unix(path) if listen::is_for_root(path));
        let closed = self.listen.iter().find(|address| is_closed(address))?;
        let is_somebody = self.identity.is_somebody_else();
        is_somebody
            .then(|| format!("{closed} is for root alone (0660, root:root), and web servers seldom are: {what_opens}"))
    }

    /// The application's file, if it was named by one.
    pub fn app_file(&self) -> Option<PathBuf> {
        app_file(&self.settings.app).map(|file| self.settings.chdir.join(file))
    }

    fn new(mut layers: Layers, runs: Runs) -> Result<Self, ConfigError> {
        let app = App::take(&mut layers);
        let (front, processes) = (Front::take(&mut layers), Processes::take(&mut layers));
        let (limits, log) = (Limits::take(&mut layers), Log::take(&mut layers));
        let recycle = Recycle::take(&mut layers);
        let reload = Reload::take(&mut layers);
        let run_as = RunAs::take(&mut layers);
        let status = Status::take(&mut layers);
        let opens_sockets = listen::opens_sockets(&layers);
        let (listen, socket) = listen(Listen::take(&mut layers), runs)?;
        let mistakes = layers.take_mistakes();
        if !mistakes.is_empty() {
            return Err(ConfigError::Mistakes(mistakes));
        }
        if let Some(address) = beyond_this_machine(&status) {
            return Err(ConfigError::StatusNotLoopback(
                status.status_listen.name().to_owned(),
                address,
            ));
        }
        let identity = match runs {
            Runs::Here => Identity::find(&run_as, layers.entry())?,
            Runs::Elsewhere => Identity::default(),
        };
        let environment = environment(&layers, &identity, &app);
        let name = app.app.as_ref().map_or("", AppName::as_str).to_owned();
        let (chdir, pythonpath) = identity.looks(|| {
            let chdir = app::working_directory(&app.chdir, runs)?;
            let pythonpath = app::pythonpath(&app.pythonpath, runs)?;
            if runs == Runs::Here {
                app::check_file(&name, &chdir, app.chdir.name())?;
            }
            Ok::<_, ConfigError>((chdir, pythonpath))
        })?;
        let python = match app.python.as_deref() {
            Some(python) => Some(app::utf8(app.python.name(), python.to_owned())?),
            None => None,
        };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let usual = if layers.entry() == Entries::DEV { 1 } else { cores };
        let range = processes.workers.map_or(usual..=usual, |workers| workers.on(cores));
        let size = Size {
            least: *range.start(),
            most: *range.end(),
            spare: processes.spare.get(),
            idle_timeout: *processes.worker_idle_timeout,
        };
        let pool_name = app
            .name
            .as_ref()
            .map_or_else(|| pool_name(&name), |name| PoolName::as_str(name).to_owned());
        let settings = Settings {
            log: LogSettings {
                name: pool_name.clone(),
                ..log_settings(log)
            },
            name: pool_name,
            entry: Entry::Pool,
            chdir: app.chdir.map(|_| chdir),
            pythonpath,
            size,
            threads: processes.threads,
            preload: *app.preload == Preload::Auto,
            warmup: reload.warmup,
            listeners: Vec::new(),
            inherited_listeners: Vec::new(),
            mount: app.mount,
            as_sent: false,
            front,
            debug: false,
            validate: *app.validate,
            allowed_peers: None,
            cgi_variables: app.cgi_variable.into_value(),
            limits,
            recycle,
            status_path: status.status_path.clone(),
            ping_path: status.ping_path.clone(),
            app: name,
        };
        Ok(Self {
            settings,
            listen,
            socket,
            opens_sockets,
            python: app.python.map(|_| python),
            environment,
            identity,
            status,
            reload_on: reload.reload_on.into_value(),
        })
    }
}

/// What depends on something, for a pool of the file.
fn add_defaults(layers: &mut Layers) {
    if layers.said("chdir").is_none() {
        let app = App::take(&mut layers.clone()).app.into_value();
        let file = app.as_ref().and_then(|app| app_file(app.as_str()));
        let directory = file
            .and_then(|file| Path::new(file).parent())
            .filter(|path| path.is_absolute());
        // Where the program was started says nothing of its pools.
        layers.assume("chdir", directory.unwrap_or(Path::new("/")));
    }
    if layers.said("workers").is_none() {
        layers.assume("workers", "auto");
    }
}

fn environment(layers: &Layers, identity: &Identity, app: &App) -> Environment {
    let inherited = match layers.entry() {
        Entries::POOL => Inherited::Only(app.keep_env.to_vec()),
        _ => Inherited::Everything,
    };
    let environment = Environment::new(inherited, identity, app);
    let origin = layers.said("env_file").map(|said| &said.place.origin);
    match origin {
        Some(Origin::Script { .. }) => environment.read_by(identity.clone()),
        _ => environment,
    }
}

/// Where an application runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// On this machine, as this user.
    Here,
    Elsewhere,
}

/// Where the status would be seen from other machines, which nobody has allowed.
fn beyond_this_machine(status: &Status) -> Option<SocketAddr> {
    match status.status_listen.as_ref() {
        Some(StatusAddress(Address::Tcp(address))) if !address.ip().is_loopback() => {
            (!*status.status_allow_remote).then_some(*address)
        }
        _ => None,
    }
}

fn log_settings(log: Log) -> LogSettings {
    let (to, format) = (log.log.into_value(), *log.log_format);
    let terminal = to == Destination::Stderr && io::IsTerminal::is_terminal(&io::stderr());
    // https://no-color.org
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let access = log.access_log.into_value();
    LogSettings {
        level: *log.log_level,
        format,
        access: access != AccessLog::Off,
        ansi: terminal && colours && format == Format::Text,
        pool: None,
        name: String::new(),
        to,
        access_to: match access {
            AccessLog::To(destination) => Some(destination),
            AccessLog::Off | AccessLog::InLog => None,
        },
        access_format: log.access_format.into_value(),
        access_suppress: log.access_suppress.into_value(),
        slow_to: log.slow_log.into_value(),
        app_rate: *log.print_rate,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use settings::values::{CountLimit, PathSource, SizeLimit, Timeout};

    use super::*;
    use crate::cli::{Cli, Command};

    fn serve(more: &[&str]) -> Result<Pool, ConfigError> {
        let typed = ["wsgi-fpm", "serve", "mysite.wsgi:application"];
        let cli = Cli::try_parse_from(typed.iter().chain(more)).unwrap();
        let Command::Serve(typed) = cli.command else {
            panic!("serve was typed");
        };
        Pool::for_serve(Vec::new(), &typed.options.0)
    }

    fn listening(more: &[&str]) -> Result<Pool, ConfigError> {
        serve(&[&["--listen", "/run/x.sock"], more].concat())
    }

    #[test]
    fn without_options_the_defaults_hold() {
        let pool = listening(&[]).unwrap();
        assert_eq!(pool.settings.limits, Limits::default());
        assert_eq!(
            (pool.settings.name.as_str(), pool.settings.threads.get()),
            ("mysite", 4)
        );
        assert_eq!((pool.settings.front, pool.socket.mode), (Front::default(), 0o660));
        assert!(pool.settings.mount.is_none() && !pool.settings.as_sent);
        assert!(pool.settings.size.least >= 1 && pool.settings.chdir.is_absolute());
    }

    #[test]
    fn application_without_an_address_gets_the_line_to_type() {
        let error = serve(&["--threads", "2", "--name", "a.b"]).unwrap_err().to_string();
        let typed = "mysite.wsgi:application --name a.b --threads 2";
        let expected =
            format!("wsgi-fpm serve {typed} --listen 127.0.0.1:9000; to open it in a browser: wsgi-fpm dev {typed}");
        assert!(error.ends_with(&expected), "{error}");
    }

    #[test]
    fn script_is_stripped_unless_a_mount_says_where_the_application_is() {
        let pool = listening(&["--strip-script", "--path-source", "request-uri"]).unwrap();
        let front = &pool.settings.front;
        assert!(*front.strip_script && *front.path_source == PathSource::RequestUri && !pool.settings.as_sent);
        for mount in ["/", "/app"] {
            let error = listening(&["--strip-script", "--mount", mount]).unwrap_err();
            let expected = "--strip-script: has no meaning together with --mount; leave one out";
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn zero_means_no_limit_where_there_can_be_none() {
        let pool = listening(&[
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
            (*limits.body_max, *limits.connection_requests),
            (SizeLimit::NONE, CountLimit::NONE)
        );
        assert_eq!(*limits.request_timeout, Timeout::NONE);
    }
}
