//! A site of Apache with mod_fcgid, as `apache/fcgid.conf` shows it. Apache starts the processes: no service, no socket.

use std::fmt::Write as _;
use std::path::Path;

use super::apache::{self, SERVER, word};
use super::command::{Command, separator};
use super::value::{Value, is_plain, quoted};
use super::{Site, WriterError, times};

/// Where Apache starts the processes, others say how many and where they listen.
const NOT_HERE: [&str; 6] = [
    "listen",
    "listen-mode",
    "listen-owner",
    "listen-group",
    "backlog",
    "workers",
];
/// What mod_fcgid has room for, without a NUL.
const LONGEST_PATH: usize = 255;
const LONGEST_COMMAND: usize = 511;

pub fn write(site: &Site, program: &Value, command: &Command) -> Result<String, WriterError> {
    let mut text = apache::head(site, "fcgid");
    text.push_str("# Apache starts the application itself, as its own user: there is no service to run.\n");
    let left_out: Vec<String> = command
        .typed()
        .filter(|name| NOT_HERE.contains(name) && *name != "workers")
        .map(|name| format!("--{name}"))
        .collect();
    if !left_out.is_empty() {
        let _ = writeln!(
            text,
            "# Left out, since Apache makes the sockets: {}.",
            left_out.join(", ")
        );
    }
    text.push_str(&apache::virtual_host(site)?);
    text.push_str(&limits(site, command));
    text.push_str(&apache::static_files(site, false)?);
    text.push_str(&application(site, program, command)?);
    text.push_str("</VirtualHost>\n");
    Ok(text)
}

fn limits(site: &Site, command: &Command) -> String {
    let seconds = times::seconds(times::read(&site.limits).unwrap_or(times::A_YEAR));
    let mut text = format!(
        "    # Largest request body, as --body-max.\n    \
         FcgidMaxRequestLen {}\n    \
         # Longer than --request-timeout, so that wsgi-fpm's own 504 and log line come first.\n    \
         FcgidIOTimeout {seconds}\n    \
         FcgidBusyTimeout {seconds}\n    \
         # Processes go when they are idle, never in the middle of work.\n    \
         FcgidMaxRequestsPerProcess 0\n    \
         # The Authorization header, which Apache withholds otherwise.\n    \
         FcgidPassHeader Authorization\n",
        site.limits.body_max
    );
    if let Some(workers) = command.value("workers") {
        let _ = write!(
            text,
            "    # --workers: each process has one request at a time.\n    FcgidMaxProcessesPerClass {workers}\n"
        );
    }
    text
}

/// The whole URL space is below one file, so that Apache divides the path rightly: the script, or the program with the
/// application as its argument.
fn application(site: &Site, program: &Value, command: &Command) -> Result<String, WriterError> {
    let wrapper = wrapper(site, program, command)?;
    let path = Path::new(program.as_str());
    let (Some(directory), Some(file)) = (path.parent(), path.file_name()) else {
        return Err(WriterError::NoFile(program.as_str().to_owned()));
    };
    let directory = program.with(directory.to_string_lossy().into_owned());
    let file = program.with(file.to_string_lossy().into_owned());
    let target = match site.mount.as_str() {
        "" => program.directory(),
        _ => program.clone(),
    };
    let url = match site.mount.as_str() {
        "" => site.mount.with("/".to_owned()),
        _ => site.mount.clone(),
    };
    Ok(format!(
        "\n    # %2F in a path is the application's business.\n    \
         AllowEncodedSlashes On\n    \
         ScriptAlias {} {}\n    \
         <Directory {}>\n        \
         Options +FollowSymLinks\n        \
         <Files {}>\n            \
         SetHandler fcgid-script\n            \
         Options +ExecCGI\n            \
         Require all granted\n            \
         FcgidWrapper {wrapper}\n        \
         </Files>\n    \
         </Directory>\n",
        word(&url)?,
        word(&target)?,
        apache::pattern(&directory)?,
        apache::pattern(&file)?,
    ))
}

/// The command line that mod_fcgid takes apart.
fn wrapper(site: &Site, program: &Value, command: &Command) -> Result<String, WriterError> {
    let mut line = format!("{} fastcgi {}", argument(program.as_str()), argument(site.app.as_str()));
    for (name, value) in command
        .options
        .iter()
        .filter(|(name, _)| !NOT_HERE.contains(&name.as_str()))
    {
        let _ = write!(line, " --{name}");
        if let Some(value) = value.as_ref().map(Value::as_str) {
            line.push(separator(value));
            line.push_str(&argument(value));
        }
    }
    if program.as_str().len() > LONGEST_PATH {
        return Err(WriterError::LongCommand(LONGEST_PATH));
    }
    if line.len() > LONGEST_COMMAND {
        return Err(WriterError::LongCommand(LONGEST_COMMAND));
    }
    program.with(line.clone()).without(SERVER, &["${"])?;
    Ok(quoted(&line, &['"', '\\']))
}

/// A word of it: in double quotes, in which a backslash stands before quotes and backslashes.
fn argument(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    quoted(text, &['"', '\\'])
}
