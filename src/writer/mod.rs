//! `wsgi-fpm config`: the configuration of a web server, or a systemd unit, for one application. Reads the same options
//! as `serve` and starts nothing; no Python is needed. One module for each server, which knows its syntax.

mod apache;
mod caddy;
mod command;
mod fcgid;
mod file;
mod haproxy;
mod lighttpd;
mod nginx;
mod own_pages;
mod servers;
mod systemd;
mod text;
mod times;
mod value;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use settings::sections::{App, Limits, RunAs};
use settings::values::{Address, Mount, Timeout};
use settings::{Declaration, Said, Setting};

use crate::cli::{ConfigArgs, SiteOptions, WebServer};
use crate::config::{ConfigError, Pool};
use crate::script;
use command::Command;
use servers::Servers;
use text::Text;
use value::Value;

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
/// Who runs web applications, on Debian.
const USER: &str = "www-data";

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriterError {
    #[error("{what} {value:?}: {server} has no way to write {character:?} there")]
    Unwritable {
        what: String,
        value: String,
        server: &'static str,
        character: String,
    },
    #[error("{what} {named:?}: write a name or number of the system's accounts")]
    Account { what: String, named: String },
    #[error("{what} {value:?}: a configuration is written in UTF-8, which this is not")]
    NotUtf8 { what: String, value: String },
    #[error(
        "--port 443: browsers speak HTTPS there, so add --tls-cert FILE --tls-key FILE; certbot puts them into \
             /etc/letsencrypt/live/{0}/fullchain.pem and privkey.pem; Caddy needs neither: leave --port out and name the \
             site with --server-name"
    )]
    NoCertificate(String),
    #[error("name the application, or a configuration file with -c FILE")]
    NoApplication,
    #[error("{0}: it has no meaning beside a configuration file; write it there, or leave the file out")]
    BesideAFile(String),
    #[error("{0}: the file has no such pool; it has {1}")]
    NoPool(String, String),
    #[error(
        "mod_fcgid starts the processes of an application itself and knows nothing of pools: name one application and its \
             options in place of the file, or take `apache`, which connects to what `wsgi-fpm serve -c` runs"
    )]
    NotOfAFile,
    #[error("one unit serves all pools of the file: leave the name of the pool out")]
    WholeFile,
    #[error(
        "--server-name: the pools of the file need several sites, since more than one has the same path; name one pool behind \
             the file"
    )]
    SeveralSites,
    #[error("--static {0}: named twice")]
    StaticTwice(String),
    #[error("--static {url}: {} is not a directory", .directory.display())]
    StaticFile { url: String, directory: PathBuf },
    #[error("--static {0}: HAProxy sends no files; let another web server do that")]
    NoFiles(String),
    #[error(
        "the command line for mod_fcgid is longer than the {0} bytes that it can hold; put the options into a script \
             that begins with #!/usr/bin/env wsgi-fpm, and name that one"
    )]
    LongCommand(usize),
    #[error(
        "--{option}: {script} says its options itself, and Apache gives it no others; write this one into its block"
    )]
    NotInBlock { option: String, script: String },
    #[error("{0} is not executable, so Apache can't start it; chmod +x it")]
    NotExecutable(String),
    #[error("{option}: {server} has no longer times than {}", Timeout::from(*.most))]
    TooLong {
        option: String,
        server: &'static str,
        most: Duration,
    },
    #[error("{0} {1}: no web server can connect there by this address; name the socket's own")]
    NoAddress(String, Address),
    #[error(
        "{option} {}: {} is root's own, so {user} can't make a socket there; name one in a directory of its own, \
             such as {}", .socket.display(), .directory.display(), .instead.display()
    )]
    NotInRun {
        option: String,
        socket: PathBuf,
        directory: PathBuf,
        user: String,
        instead: PathBuf,
    },
}

/// What all writers need to know about an application and its place in the web server.
#[derive(Debug)]
pub struct Site {
    /// The pool's name in ASCII: names in the configuration and of files are made from it.
    pub name: String,
    pub app: Value,
    /// Of the application, if it was named by one.
    pub file: Option<PathBuf>,
    pub chdir: Value,
    /// "" for the whole site; no slash at the end.
    pub mount: Value,
    pub statics: Vec<Static>,
    /// Where the pool answers itself; often none.
    pub own_pages: Vec<Value>,
    /// None: every name that no other site has.
    pub server_names: Vec<String>,
    pub port: Option<u16>,
    pub tls: Option<Tls>,
    pub limits: Limits,
    pub listen: Setting<Vec<Address>>,
    pub accounts: Accounts,
    pub options: SiteOptions,
}

/// Who runs the application.
#[derive(Debug)]
pub struct Accounts {
    pub user: String,
    /// None: the user's own.
    pub group: Option<String>,
    pub groups: Vec<String>,
}

impl Accounts {
    fn is_root(&self) -> bool {
        ["root", "0"].contains(&self.user.as_str())
    }
}

/// What HTTPS needs: absolute paths of PEM files, which need not be on this machine.
#[derive(Debug)]
pub struct Tls {
    pub certificate: Value,
    pub key: Value,
}

/// A URL prefix whose files the web server sends itself.
#[derive(Debug)]
pub struct Static {
    /// Starts with a slash and does not end with one.
    pub url: Value,
    /// Absolute, without a slash at the end.
    pub directory: Value,
}

/// Where the web server connects.
#[derive(Debug)]
pub enum Backend {
    Unix(Value),
    Tcp(SocketAddr),
}

pub fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let text = write(args)?;
    // Nothing is printed before everything has been written: never half a file.
    crate::stdout::write(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn write(args: ConfigArgs) -> anyhow::Result<String> {
    let ConfigArgs {
        server,
        config,
        options,
        site,
    } = args;
    let mut typed = options.0;
    if server == WebServer::Reference {
        return Ok(settings::tables::reference());
    }
    if let Some(file) = config {
        return file::write(server, &file, &typed, &site);
    }
    if !typed.iter().any(|said| said.option.key == App::app().key) {
        return Err(WriterError::NoApplication.into());
    }
    let block = script::options_of(&mut typed)?;
    let pool = Pool::for_config(block.clone(), &typed)?;
    let site = Site::new(&pool, site, accounts(&typed)?)?;
    site.check_port(server)?;
    let command = Command::new(&pool, &site, &typed, &block)?;
    let program = program(site.options.program.as_deref())?;
    let sites = [site];
    let servers = Servers::new(&sites)?;
    let [site] = &sites;
    let mut text = match server {
        WebServer::ApacheFcgid => {
            let target = fcgid::target(&pool, &program, &command)?;
            fcgid::write(&servers, pool.settings.size.most, &target, &command)?
        }
        WebServer::Systemd => systemd::write(site, &program, &command, pool.status.control.as_ref())?,
        server => served(server, &servers, &command)?,
    };
    if let Some(note) = site.missing() {
        text.note(note);
    }
    Ok(text.to_string())
}

/// For a web server that connects to what this program serves.
fn served(server: WebServer, servers: &Servers, command: &Command) -> Result<Text, WriterError> {
    match server {
        WebServer::Nginx => nginx::write(servers, command),
        WebServer::Apache => apache::write(servers, command),
        WebServer::Lighttpd => lighttpd::write(servers, command),
        WebServer::Caddy => caddy::write(servers, command),
        WebServer::Haproxy => haproxy::write(servers, command),
        WebServer::ApacheFcgid | WebServer::Systemd | WebServer::Reference => Err(WriterError::NotOfAFile),
    }
}

impl Site {
    fn new(pool: &Pool, options: SiteOptions, accounts: Accounts) -> Result<Self, anyhow::Error> {
        let name = ascii_name(&pool.settings.name);
        let listen = pool.listen.clone().map(|listen| match listen.as_slice() {
            [] => vec![Address::Unix(default_socket(&name))],
            _ => listen,
        });
        let (chdir, mount) = (&pool.settings.chdir, &pool.settings.mount);
        Ok(Self {
            app: Value::new("APP", &pool.settings.app)?,
            file: pool.app_file(),
            chdir: Value::path(chdir.name(), chdir)?,
            mount: Value::new(mount.name(), mount.as_ref().map_or("", Mount::as_str))?,
            statics: statics(&options)?,
            own_pages: own_pages::paths(&pool.settings)?,
            server_names: options.server_names.clone(),
            port: options.port,
            tls: tls(&options)?,
            limits: pool.settings.limits.clone(),
            listen,
            name,
            accounts,
            options,
        })
    }

    /// # Errors
    /// Browsers would speak HTTPS there, and there is no certificate.
    fn check_port(&self, server: WebServer) -> Result<(), WriterError> {
        if self.port == Some(HTTPS) && self.tls.is_none() && server != WebServer::Systemd {
            let name = self.server_names.first().map_or("NAME", String::as_str);
            return Err(WriterError::NoCertificate(name.to_owned()));
        }
        Ok(())
    }

    /// What of the application is not on this machine.
    fn missing(&self) -> Option<String> {
        let here = |path: &Path| path.try_exists().unwrap_or(true);
        let mut missing = Vec::new();
        if !here(Path::new(self.chdir.as_str())) {
            missing.push(format!("{} ({})", self.chdir.as_str(), self.chdir.what()));
        }
        if let Some(file) = self.file.as_deref().filter(|file| !here(file)) {
            missing.push(format!("{} (APP)", file.display()));
        }
        (!missing.is_empty()).then(|| {
            let missing = missing.join(", ");
            format!("Written where these are missing: {missing}. They have to be there where the application runs.")
        })
    }

    /// Where the web server listens, if it has no ports of its own.
    fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls.is_some() { HTTPS } else { HTTP })
    }

    /// Whether browsers that come to the port of HTTP are sent to this site.
    fn is_redirected_to(&self) -> bool {
        self.tls.is_some() && self.port() == HTTPS
    }

    fn has_unix_socket(&self) -> bool {
        self.listen.iter().any(|address| matches!(address, Address::Unix(_)))
    }

    /// # Errors
    /// If there is no address that one can connect to.
    fn backend(&self) -> Result<Backend, WriterError> {
        let reachable = self.listen.iter().find_map(|address| match address {
            Address::Unix(path) => Some(Value::path(self.listen.name(), path).map(Backend::Unix)),
            Address::Tcp(address) if address.port() != 0 => Some(Ok(Backend::Tcp(towards(*address)))),
            Address::Tcp(_) | Address::Fd(_) | Address::Named(_) => None,
        });
        reachable.unwrap_or_else(|| {
            Err(WriterError::NoAddress(
                self.listen.name().to_owned(),
                self.listen[0].clone(),
            ))
        })
    }
}

impl Backend {
    /// Whether web server and application have the same clock.
    fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => address.ip().is_loopback(),
        }
    }
}

fn accounts(typed: &[Said]) -> Result<Accounts, WriterError> {
    let named = |option: &Declaration| {
        let said = typed.iter().filter(|said| said.option.key == option.key);
        said.flat_map(|said| said.values.iter().map(|value| account(said, &value.to_string_lossy())))
            .collect::<Result<Vec<_>, _>>()
    };
    let user = named(RunAs::user())?.pop();
    Ok(Accounts {
        user: user.unwrap_or_else(|| USER.to_owned()),
        group: named(RunAs::group())?.pop(),
        groups: named(RunAs::groups())?,
    })
}

/// systemd takes no others, and has no way to quote them.
fn account(said: &Said, named: &str) -> Result<String, WriterError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match named.starts_with(['.', '-']) || !named.chars().all(allowed) {
        true => Err(WriterError::Account {
            what: said.place.name(said.option),
            named: named.to_owned(),
        }),
        false => Ok(named.to_owned()),
    }
}

/// The address to connect to, for one to listen on: 127.0.0.1 for 0.0.0.0.
fn towards(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// A directory for each application: systemd makes and removes it with the service.
fn default_socket(name: &str) -> PathBuf {
    Path::new("/run").join(format!("wsgi-fpm-{name}")).join("wsgi.sock")
}

/// The path by which services are to start this program: through the link on PATH, if there is one, since that one stays
/// with the next version.
fn program(named: Option<&Path>) -> Result<Value, anyhow::Error> {
    if let Some(named) = named {
        let path = absolute(named)?;
        return Ok(Value::path("--program", &path)?);
    }
    let own = std::env::current_exe().context("the path of this program is unknown, name it with --program")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let linked = std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .filter_map(|directory| Some(directory.join(own.file_name()?)))
        .find(|candidate| candidate.canonicalize().is_ok_and(|target| target == own));
    Ok(Value::path("--program", &linked.unwrap_or(own))?)
}

fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path)
        .map_err(|error| ConfigError::CurrentDirectory(format!("--{}", App::chdir().long()), error))
}

fn ascii_name(pool: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    pool.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

fn tls(options: &SiteOptions) -> Result<Option<Tls>, anyhow::Error> {
    let file = |what, path: &Path| -> Result<Value, anyhow::Error> {
        let path = absolute(path)?;
        Ok(Value::path(what, &path)?)
    };
    // clap sees to it that there are both or none.
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        return Ok(None);
    };
    let certificate = file("--tls-cert", certificate)?;
    let key = file("--tls-key", key)?;
    Ok(Some(Tls { certificate, key }))
}

fn statics(options: &SiteOptions) -> Result<Vec<Static>, anyhow::Error> {
    let mut statics: Vec<Static> = Vec::new();
    for (url, directory) in &options.statics {
        let directory = absolute(directory)?;
        // Without a slash at the end, which some servers want and others don't.
        let directory: PathBuf = directory.components().collect();
        if statics.iter().any(|known| known.url.as_str() == url) {
            return Err(WriterError::StaticTwice(url.clone()).into());
        }
        // It need not be there yet: Django's collectstatic makes it.
        if directory.exists() && !directory.is_dir() {
            let url = url.clone();
            return Err(WriterError::StaticFile { url, directory }.into());
        }
        statics.push(Static {
            url: Value::new("--static", url)?,
            directory: Value::path("--static", &directory)?,
        });
    }
    Ok(statics)
}
