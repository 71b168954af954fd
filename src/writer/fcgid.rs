//! A site of Apache with mod_fcgid, as `apache/fcgid.conf` shows it. Apache starts the processes: no service, no socket.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::apache::{self, word};
use settings::sections::Processes;
use settings::{Declaration, Entries};

use super::command::{Command, separator};
use super::servers::Servers;
use super::text::Text;
use super::value::{Value, is_plain, quoted};
use super::{Site, WriterError, times};
use crate::config::{self, Pool};

/// As many requests at a time as two workers of `serve` have threads for; not by this machine, since the file may be for
/// another one.
const PROCESSES: u32 = 8;
/// What mod_fcgid has room for, without a NUL.
const LONGEST_PATH: usize = 255;
const LONGEST_COMMAND: usize = 511;

pub fn write(servers: &Servers, workers: u32, target: &Target, command: &Command) -> Result<Text, WriterError> {
    let mut text = apache::head(servers, "fcgid");
    text.comment("Apache starts the application itself, as its own user: there is no service to run.");
    let left_out: Vec<String> = command
        .typed()
        .filter(|option| !is_for_process(option) && option.key != Processes::workers().key)
        .map(|option| format!("--{}", option.long()))
        .collect();
    if !left_out.is_empty() {
        text.comment(format_args!(
            "Left out, since Apache starts the processes and makes their sockets: {}.",
            left_out.join(", ")
        ));
    }
    apache::listen(&mut text, servers.first());
    for server in servers.iter() {
        apache::virtual_host(&mut text, server, |text| {
            let site = server.sites[0];
            limits(text, site, command, workers);
            apache::static_files(text, site, false)?;
            application(text, site, target)
        })?;
    }
    Ok(text)
}

/// Whether a process takes it that somebody else has started: who says where it listens, how many there are and who they are.
fn is_for_process(option: &Declaration) -> bool {
    option.entries.has(Entries::FASTCGI)
}

fn limits(text: &mut Text, site: &Site, command: &Command, workers: u32) {
    /// mod_fcgid knows no body without a limit.
    const LARGEST: u64 = i64::MAX as u64;
    let seconds = times::seconds(times::read(&site.limits).unwrap_or(times::A_YEAR));
    let body_max = &site.limits.body_max;
    text.comment(format_args!("Largest request body, as {}.", body_max.name()));
    text.line(format_args!(
        "FcgidMaxRequestLen {}",
        body_max.bytes().unwrap_or(LARGEST)
    ));
    text.comment(format_args!(
        "Longer than {}, so that wsgi-fpm's own 504 and log line come first.",
        site.limits.request_timeout.name()
    ));
    text.line(format_args!("FcgidIOTimeout {seconds}"));
    text.line(format_args!("FcgidBusyTimeout {seconds}"));
    text.comment("Processes go when they are idle, never in the middle of work.");
    text.line("FcgidMaxRequestsPerProcess 0");
    text.comment("The Authorization header, which Apache withholds otherwise.");
    text.line("FcgidPassHeader Authorization");
    text.comment(
        "The Content-Length of responses, which Apache drops otherwise: wsgi-fpm makes sure that it is right.",
    );
    text.line("SetEnv ap_trust_cgilike_cl 1");
    text.comment(format_args!(
        "--{}: each process has one request at a time, and the application in memory. Apache would start a hundred.",
        Processes::workers().long()
    ));
    let workers = match command.value(Processes::workers()) {
        Some(_) => workers,
        None => PROCESSES,
    };
    text.line(format_args!("FcgidMaxProcessesPerClass {workers}"));
}

/// What Apache starts.
#[derive(Debug)]
pub struct Target {
    file: Value,
    /// The command line, where the file is the program and not a script that says everything itself.
    wrapper: Option<String>,
}

/// The application itself, if it is a script for wsgi-fpm; else the program with the application as its argument.
///
/// # Errors
/// If Apache could not start it so.
pub fn target(pool: &Pool, program: &Value, command: &Command) -> Result<Target, WriterError> {
    // Apache starts it without a word about a callable.
    let names_file = config::file_part(&pool.settings.app) == pool.settings.app;
    let script = pool.app_file().filter(|file| names_file && is_script(file));
    let target = match script {
        Some(script) => {
            let file = Value::path("APP", &script)?;
            if let Some(option) = command.typed().find(|option| is_for_process(option)) {
                return Err(WriterError::NotInBlock {
                    option: option.long(),
                    script: file.as_str().to_owned(),
                });
            }
            let executable = script
                .metadata()
                .is_ok_and(|data| data.permissions().mode() & 0o111 != 0);
            if !executable {
                return Err(WriterError::NotExecutable(file.as_str().to_owned()));
            }
            Target { file, wrapper: None }
        }
        None => Target {
            file: program.clone(),
            wrapper: Some(wrapper(pool, program, command)?),
        },
    };
    match target.file.as_str().len() {
        0..=LONGEST_PATH => Ok(target),
        _ => Err(WriterError::LongCommand(LONGEST_PATH)),
    }
}

/// Whether the kernel would start it with wsgi-fpm.
fn is_script(file: &Path) -> bool {
    let mut line = Vec::new();
    let Ok(file) = File::open(file) else { return false };
    // Longer than any that the kernel reads.
    let read = BufReader::new(file.take(512)).read_until(b'\n', &mut line);
    read.is_ok() && line.starts_with(b"#!") && String::from_utf8_lossy(&line).contains("wsgi-fpm")
}

/// The whole URL space is below one file, so that Apache divides the path rightly.
fn application(text: &mut Text, site: &Site, target: &Target) -> Result<(), WriterError> {
    let path = Path::new(target.file.as_str());
    let part = |part: Option<&OsStr>| {
        target
            .file
            .with(part.unwrap_or_default().to_string_lossy().into_owned())
    };
    let (directory, file) = (part(path.parent().map(Path::as_os_str)), part(path.file_name()));
    let (url, mapped) = match site.mount.as_str() {
        "" => (site.mount.with("/".to_owned()), target.file.directory()),
        _ => (site.mount.clone(), target.file.clone()),
    };
    text.blank();
    text.comment("%2F in a path is the application's business.");
    text.line("AllowEncodedSlashes On");
    text.line(format_args!("ScriptAlias {} {}", word(&url)?, word(&mapped)?));
    let directory = format!("<Directory {}>", apache::pattern(&directory)?);
    let files = format!("<Files {}>", apache::pattern(&file)?);
    text.block(directory, "</Directory>", |text| {
        text.line("Options +FollowSymLinks");
        text.block(files, "</Files>", |text| {
            text.line("SetHandler fcgid-script");
            text.line("Options +ExecCGI");
            text.line("Require all granted");
            if let Some(wrapper) = &target.wrapper {
                text.line(format_args!("FcgidWrapper {wrapper}"));
            }
        });
    });
    Ok(())
}

/// The command line, which mod_fcgid takes apart.
fn wrapper(pool: &Pool, program: &Value, command: &Command) -> Result<String, WriterError> {
    let mut line = format!(
        "{} fastcgi {}",
        argument(program.as_str()),
        argument(&pool.settings.app)
    );
    let options = command.options.iter();
    for (option, value) in options.filter(|(option, _)| is_for_process(option)) {
        let _ = write!(line, " --{}", option.long());
        if let Some(value) = value.as_ref().map(Value::as_str) {
            line.push(separator(value));
            line.push_str(&argument(value));
        }
    }
    if line.len() > LONGEST_COMMAND {
        return Err(WriterError::LongCommand(LONGEST_COMMAND));
    }
    word(&program.with(line))
}

/// A word of it: in double quotes, in which a backslash stands before quotes and backslashes.
fn argument(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    quoted(text, &['"', '\\'])
}
