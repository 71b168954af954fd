//! Why a pool can't be as it was described.

use std::io;
use std::path::PathBuf;

use contract::denied::Denied;
use settings::Mistake;
use settings::values::Address;

use super::listen::{ALLOWED_PEERS, MAX_LISTENERS};
use crate::users::UserError;

/// Of an address where the status would be seen.
pub const NOT_LOOPBACK: &str =
    "the status has no login, so it is shown on this machine alone; where others are meant, add status_allow_remote";

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("{}", lines(.0))]
    Mistakes(Vec<Mistake>),
    #[error("the current directory is unknown, name one with {0}: {1}")]
    CurrentDirectory(String, io::Error),
    #[error("{0} {path}: {2}", path = .1.display())]
    Denied(String, PathBuf, Denied),
    #[error("{0} {path}: {2}", path = .1.display())]
    Path(String, PathBuf, io::Error),
    #[error("{0} {path}: not a directory", path = .1.display())]
    NotADirectory(String, PathBuf),
    #[error("the application {app}: the file {} does not exist", .path.display())]
    NoSuchFile { app: String, path: PathBuf },
    #[error("the application {app}: the file {} does not exist; it is looked for in the working directory, which is {} here: \
             name another one ({option}), or write the whole path of the file", .chdir.join(.app_file).display(), .chdir.display())]
    NoSuchFileThere {
        app: String,
        app_file: String,
        chdir: PathBuf,
        option: String,
    },
    #[error("{0} {path}: the name is not UTF-8, which Python and the log need it to be; rename it", path = .1.display())]
    NotUtf8(String, PathBuf),
    #[error(
        "--listen is missing: where a web server is to connect; wsgi-fpm serve {0} --listen 127.0.0.1:9000; to open it in a \
             browser: wsgi-fpm dev {0}"
    )]
    NoListen(String),
    #[error("{0} has no meaning beside a configuration file: write it there, or leave --config out")]
    BesideAFile(String),
    #[error(
        "APP is missing: the application, such as mysite.wsgi:application; or write its options into a configuration file and \
             name that with --config"
    )]
    NoApp,
    #[error(
        "what is to be served? An application: wsgi-fpm serve APP --listen ADDRESS; or the pools of a configuration file: wsgi-fpm \
             serve --config FILE, by default {0}, which does not exist"
    )]
    NothingToServe(&'static str),
    #[error("{0}: what a web server starts writes its lines to standard error, which that keeps; write true or false")]
    NoOtherAccessLog(String),
    #[error(transparent)]
    User(#[from] UserError),
    #[error("{0}: at most {MAX_LISTENERS} addresses are possible")]
    TooManyListeners(String),
    #[error("{0} {1}: named twice")]
    ListenTwice(String, Address),
    #[error(
        "{ALLOWED_PEERS}: {0:?} is not an IP address; write the addresses of the web servers with commas between \
             them, or unset the variable"
    )]
    AllowedPeers(String),
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
    #[error("{0} {1}: {NOT_LOOPBACK}")]
    StatusNotLoopback(String, std::net::SocketAddr),
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
