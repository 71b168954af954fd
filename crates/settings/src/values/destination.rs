//! Where lines of a log go, as administrators write it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Values, value_by_text};
use crate::declaration::{Form, Shape};

/// One receiver of lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Destination {
    #[default]
    Stderr,
    File(PathBuf),
    /// The syslog daemon of this machine.
    Syslog(Syslog),
    /// systemd's journal, by its own protocol.
    Journald(Journald),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Syslog {
    pub facility: Facility,
    pub tag: String,
    pub socket: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Journald {
    /// `SYSLOG_IDENTIFIER`.
    pub tag: String,
    pub socket: PathBuf,
}

/// A facility's number (RFC 5424, section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Facility(u8);

/// Whether there is an access log, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLog {
    #[default]
    Off,
    /// Among the other lines of the log.
    InLog,
    To(Destination),
}

const TAG: &str = "wsgi-fpm";
const SYSLOG_SOCKET: &str = "/dev/log";
const JOURNALD_SOCKET: &str = "/run/systemd/journal/socket";
const DAEMON: Facility = Facility(3);

/// By their numbers. Some have none that a program would use.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "",
    "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

const WHAT_TO_WRITE: &str = "write stderr, a path with a slash, syslog or journald";

impl Facility {
    pub fn number(self) -> u8 {
        self.0
    }
}

impl Destination {
    /// Whether a receiver keeps time and importance of a line by itself.
    pub fn is_a_service(&self) -> bool {
        matches!(self, Self::Syslog(_) | Self::Journald(_))
    }

    /// Whether a value of this form is a path, which is relative to the file that says it.
    pub(crate) fn is_path(text: &str) -> bool {
        let word = text.split_once(':').map_or(text, |(word, _)| word);
        text.contains('/') && !["syslog", "journald"].contains(&word)
    }
}

/// What stands behind `syslog:` and `journald:`, separated by commas.
struct Words<'a> {
    facility: Option<&'a str>,
    tag: &'a str,
    socket: Option<PathBuf>,
}

impl<'a> Words<'a> {
    fn read(text: Option<&'a str>) -> Result<Self, String> {
        let mut words = Self {
            facility: None,
            tag: TAG,
            socket: None,
        };
        for word in text.into_iter().flat_map(|text| text.split(',')) {
            match word.split_once('=') {
                Some(("tag", tag)) => words.tag = tag,
                Some(("socket", path)) if path.starts_with('/') => words.socket = Some(path.into()),
                Some(("socket", _)) => return Err("write the whole path of the socket".to_owned()),
                Some((name, _)) => return Err(format!("there is no {name}; there are tag and socket")),
                None => words.facility = Some(word),
            }
        }
        // A syslog daemon finds the end of a tag by what can't be in it.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match (1..=32).contains(&words.tag.len()) && words.tag.chars().all(is_plain) {
            true => Ok(words),
            false => Err("a tag has 1 to 32 letters, digits, dashes, underscores and dots".to_owned()),
        }
    }
}

impl FromStr for Facility {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let number = FACILITIES.iter().position(|known| !name.is_empty() && *known == name);
        number.map(|number| Self(number as u8)).ok_or_else(|| {
            format!("there is no facility {name:?}; there are daemon, user, local0 to local7, auth, authpriv, cron, ftp, kern, lpr, mail, news, syslog and uucp")
        })
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        if Self::is_path(written) {
            let path = std::path::absolute(written).map_err(|error| error.to_string())?;
            return match path.file_name().is_some() && !written.ends_with('/') {
                true => Ok(Self::File(path)),
                false => Err("this is a directory; write the path of a file".to_owned()),
            };
        }
        let (word, rest) = match written.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (written, None),
        };
        match (word, rest) {
            ("stderr", None) => Ok(Self::Stderr),
            ("syslog", rest) => {
                let words = Words::read(rest)?;
                Ok(Self::Syslog(Syslog {
                    facility: words.facility.map_or(Ok(DAEMON), str::parse)?,
                    tag: words.tag.to_owned(),
                    socket: words.socket.unwrap_or_else(|| SYSLOG_SOCKET.into()),
                }))
            }
            ("journald", rest) => match Words::read(rest)? {
                Words {
                    facility: Some(word), ..
                } => Err(format!(
                    "there is no {word} of journald; there are tag=NAME and socket=PATH"
                )),
                words => Ok(Self::Journald(Journald {
                    tag: words.tag.to_owned(),
                    socket: words.socket.unwrap_or_else(|| JOURNALD_SOCKET.into()),
                })),
            },
            _ if written.contains('.') => Err(format!(
                "a path has a slash in it: write ./{written}, or the whole path"
            )),
            _ => Err(WHAT_TO_WRITE.to_owned()),
        }
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FACILITIES[usize::from(self.0)])
    }
}

/// As an administrator would write it.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = |f: &mut fmt::Formatter<'_>, socket: &PathBuf, usual: &str| match socket.as_os_str() == usual {
            true => Ok(()),
            false => write!(f, ",socket={}", socket.display()),
        };
        match self {
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
            Self::Syslog(to) => {
                write!(f, "syslog:{},tag={}", to.facility, to.tag)?;
                socket(f, &to.socket, SYSLOG_SOCKET)
            }
            Self::Journald(to) => {
                write!(f, "journald:tag={}", to.tag)?;
                socket(f, &to.socket, JOURNALD_SOCKET)
            }
        }
    }
}

value_by_text!(Destination, "WHERE");

/// A switch, or a destination.
impl Values for AccessLog {
    const SHAPE: Shape = Shape {
        form: Form::SwitchOrValue,
        value: "WHERE",
        choices: &[],
        check: |text| Self::read(&[text.to_owned()]).map(drop),
    };

    fn read(texts: &[OsString]) -> Result<Self, String> {
        match texts {
            [] => Ok(Self::InLog),
            [text] if text == "true" => Ok(Self::InLog),
            [text] if text == "false" => Ok(Self::Off),
            [text] => {
                let to = super::as_str(text)?.parse::<Destination>();
                to.map(Self::To).map_err(|error| match error == WHAT_TO_WRITE {
                    true => format!("{error}; or true, for among the other lines of the log, or false"),
                    false => error,
                })
            }
            _ => Err("write one value".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_is_written_as_it_is_read() {
        for text in [
            "stderr",
            "/var/log/wsgi-fpm/access.log",
            "syslog:daemon,tag=wsgi-fpm",
            "syslog:local7,tag=blog,socket=/run/other/log",
            "journald:tag=blog",
            "journald:tag=wsgi-fpm,socket=/run/systemd/journal.blog/socket",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        let short = |text: &str| text.parse::<Destination>().unwrap().to_string();
        assert_eq!(short("syslog"), "syslog:daemon,tag=wsgi-fpm");
        assert_eq!(short("syslog:local0"), "syslog:local0,tag=wsgi-fpm");
        assert_eq!(short("syslog:tag=x"), "syslog:daemon,tag=x");
        assert_eq!(short("journald"), "journald:tag=wsgi-fpm");
        assert_eq!(
            "syslog:local0".parse(),
            Ok(Destination::Syslog(Syslog {
                facility: Facility(16),
                tag: TAG.into(),
                socket: SYSLOG_SOCKET.into(),
            }))
        );
    }

    #[test]
    fn mistake_is_answered_with_what_to_write() {
        let error = |text: &str| text.parse::<Destination>().unwrap_err();
        assert_eq!(
            error("access.log"),
            "a path has a slash in it: write ./access.log, or the whole path"
        );
        assert!(error("syslog:local8").starts_with("there is no facility \"local8\""));
        assert!(error("syslog:").starts_with("there is no facility \"\""));
        assert_eq!(
            error("journald:local0"),
            "there is no local0 of journald; there are tag=NAME and socket=PATH"
        );
        assert_eq!(
            error("syslog:local0,server=x"),
            "there is no server; there are tag and socket"
        );
        assert!(error("syslog:tag=a b").starts_with("a tag has"));
        assert!(error(&format!("syslog:tag={}", "x".repeat(33))).starts_with("a tag has"));
        assert_eq!(error("syslog:socket=x"), "write the whole path of the socket");
        assert_eq!(error("/var/log/"), "this is a directory; write the path of a file");
        for text in ["", "stdout", "stderr:x", "off"] {
            assert_eq!(error(text), WHAT_TO_WRITE, "{text}");
        }
    }

    #[test]
    fn access_log_is_a_switch_or_has_a_place_of_its_own() {
        let read = |texts: &[&str]| AccessLog::read(&texts.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(read(&[]), Ok(AccessLog::InLog));
        assert_eq!(read(&["true"]), Ok(AccessLog::InLog));
        assert_eq!(read(&["false"]), Ok(AccessLog::Off));
        assert_eq!(read(&["/x/y"]), Ok(AccessLog::To(Destination::File("/x/y".into()))));
        assert!(
            read(&["yes"])
                .unwrap_err()
                .ends_with("or true, for among the other lines of the log, or false")
        );
        assert!(read(&["a", "b"]).is_err());
    }
}
