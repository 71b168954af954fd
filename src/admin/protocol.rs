//! What is said on a control socket: a line of JSON asks, lines of JSON answer, the last of which is [`Answer::End`].

use contract::worker::Stacks;
use serde::{Deserialize, Serialize};

use crate::status::snapshot::Snapshot;

/// Of the protocol. It is raised when a word changes its meaning; further words and fields come without.
pub const VERSION: u32 = 1;
/// Bytes of a line that asks.
pub const LONGEST_LINE: usize = 64 * 1024;

/// The line that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub v: u32,
    /// Version of the program that asks, for messages.
    #[serde(default)]
    pub program: String,
    #[serde(flatten)]
    pub ask: Ask,
}

/// The same as far as every version understands it.
#[derive(Debug, Deserialize)]
struct Head {
    v: u32,
    #[serde(default)]
    program: String,
    #[serde(rename = "do")]
    word: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Ask {
    /// One [`Answer::Snapshot`], with this pool alone if one is named.
    Status { pool: Option<String> },
    /// Loads applications anew, after reading the file; `changed`: those alone of which it says something else. An [`Answer::Pool`]
    /// each, as soon as that is known.
    Reload {
        pool: Option<String>,
        #[serde(default)]
        changed: bool,
    },
    /// Ends, after running requests unless it has to be `now`. Of a pool there is an [`Answer::Pool`]; the whole instance closes the
    /// connection.
    Stop {
        pool: Option<String>,
        #[serde(default)]
        now: bool,
    },
    /// Gives its place to the program on disk, and closes the connection; or says why that can't be.
    Upgrade,
    /// An [`Answer::Pool`] for each pool, as soon as nothing is under way; it fails if the program on disk has refused to take over.
    Wait,
    /// Replaces all workers of a pool, one after the other. An [`Answer::Pool`] when that is done.
    Recycle { pool: String },
    /// Has so many workers until the next reload.
    Scale { pool: String, least: u32, most: u32 },
    /// An [`Answer::Event`] for each line of the logs from now on, until the connection is closed.
    Logs { pool: Option<String> },
    /// Opens log files anew.
    Reopen,
    /// An [`Answer::Stacks`] for each worker.
    Stacks { pool: String, worker: Option<i32> },
    /// Ends a request, by the name that logs and status give it.
    Kill { request: String },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Snapshot(Box<Snapshot>),
    /// It was begun, and may take its time: a line about it.
    Begun(String),
    Pool(Pool),
    Stacks(Worker),
    /// Of a log: a line, with the indented ones that belong to it.
    Event(String),
    /// So many events were not sent, since they were not read.
    Lost(u64),
    /// There is no more.
    End(End),
}

/// What has become of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub name: String,
    pub state: Came,
    /// Why it has failed, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The traceback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    Serving,
    Resting,
    /// It serves, or would, and nobody can connect.
    Unreachable,
    /// Nobody serves it.
    Failed,
    /// The version before serves.
    FailedAndGoesOn,
    Stopped,
    /// All of its workers are others.
    Replaced,
    /// They are not, and go on.
    NotReplaced,
}

/// What the threads of a worker do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub worker: i32,
    /// It imports the application, and does not serve yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imports: Option<Imports>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stacks: Option<Stacks>,
    /// Why it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Of a process that imports the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imports {
    /// It is no worker, but the leader, which does so for all workers.
    pub is_leader: bool,
    pub generation: u64,
    /// For how long it has.
    pub ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Ok(bool),
    /// What was asked has failed, or can't be.
    Error(String),
}

impl Line {
    pub fn new(ask: Ask) -> Self {
        Self {
            v: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            ask,
        }
    }

    /// # Errors
    /// What the one who asks should be told.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let ours = env!("CARGO_PKG_VERSION");
        let head: Head = serde_json::from_slice(line).map_err(|error| {
            format!("this is no question to wsgi-fpm, which is a line such as {{\"v\":{VERSION},\"do\":\"status\"}}: {error}")
        })?;
        let theirs = match head.program.as_str() {
            "" => "what asks".to_owned(),
            version => format!("wsgi-fpm {version}, which asks,"),
        };
        if head.v != VERSION {
            return Err(format!(
                "the instance is wsgi-fpm {ours} and speaks version {VERSION} of the control protocol; {theirs} speaks version {}",
                head.v
            ));
        }
        serde_json::from_slice(line).map_err(|error| {
            format!(
                "the instance is wsgi-fpm {ours} and does not understand {:?} as {theirs} says it: {error}",
                head.word
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_they_are_documented() {
        let line = Line::parse(br#"{"v":1,"do":"status","pool":null}"#).unwrap();
        assert_eq!(line.ask, Ask::Status { pool: None });
        // What a newer program says more is left out.
        let line = Line::parse(br#"{"v":1,"do":"status","pool":"blog","further":[1]}"#).unwrap();
        let pool = Some("blog".to_owned());
        assert_eq!(line.ask, Ask::Status { pool });
        let text = |answer| serde_json::to_string(&Answer::End(answer)).unwrap();
        assert_eq!(text(End::Ok(true)), r#"{"end":{"ok":true}}"#);
        assert_eq!(text(End::Error("no".into())), r#"{"end":{"error":"no"}}"#);
    }

    #[test]
    fn other_version_or_word_is_answered_with_both_versions() {
        let ours = env!("CARGO_PKG_VERSION");
        let error = |line: &str| Line::parse(line.as_bytes()).unwrap_err();
        let text = error(r#"{"v":7,"program":"9.9","do":"dance"}"#);
        assert!(
            text.contains(&format!("is wsgi-fpm {ours} and speaks version 1")),
            "{text}"
        );
        assert!(text.contains("wsgi-fpm 9.9, which asks, speaks version 7"), "{text}");
        let text = error(r#"{"v":1,"program":"9.9","do":"dance"}"#);
        assert!(
            text.contains(&format!("is wsgi-fpm {ours}")) && text.contains("\"dance\" as wsgi-fpm 9.9"),
            "{text}"
        );
        for wrong in ["", "status", "{}", "[1]", "{\"v\":\"1\",\"do\":\"status\"}"] {
            assert!(error(wrong).contains(r#"{"v":1,"do":"status"}"#), "{wrong}");
        }
    }
}
