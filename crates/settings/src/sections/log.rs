//! What is logged, how, and where it goes.

use crate::declaration::{Entries, PathForm, Scope, section};
use crate::values::{AccessFormat, AccessLog, CountLimit, Destination, Format, Level, PathPattern};

section! {
    /// The log, that of requests, and that of slow ones.
    Log = "Logging";

    /// Where the log goes: `stderr`, a file, `syslog` or `journald`
    ///
    /// A path has a slash in it. `syslog:local0,tag=blog` names a facility (`daemon`) and a tag (`wsgi-fpm`), `journald:tag=blog` an identifier;
    /// `socket=PATH` another socket than the usual one. SIGUSR1 opens files anew
    log: Destination {
        default: Some("stderr"),
        scope: Scope::Server,
        entries: Entries::SERVED,
        path: PathForm::Destination,
        when: "nobody keeps standard error",
    }

    /// Least important events that are logged
    log_level: Level {
        default: Some("info"),
        scope: Scope::ServerAndPool,
        when: "to look for a fault",
    }

    /// Form of the log
    ///
    /// `json` is one object a line. Colours on a terminal, unless `NO_COLOR` is set
    log_format: Format {
        default: Some("text"),
        scope: Scope::Server,
        when: "the log is read by a program",
    }

    /// Log one line for each request, in the log or to a destination of its own, as for `--log`
    ///
    /// In a file `true`, `false` or a destination. Always on in `dev`
    access_log: AccessLog {
        default: Some("false"),
        entries: Entries::PRODUCTION,
        path: PathForm::Destination,
        when: "the web server's own log does not tell enough",
    }

    /// Form of these lines: `text`, `json`, `combined`, or a line with names in it such as `$remote $method $path $status`
    ///
    /// `json:NAME,NAME` has these fields alone. The names stand in logs.md. In the log, what is no event of its form becomes the message of one
    access_format: Option<AccessFormat> {
        otherwise: "as `--log-format` says",
        when: "a program reads them, or they should tell more",
    }

    /// Path whose requests get no line if all is well; `*` at its end stands for anything; can be repeated
    ///
    /// GET and HEAD alone. A status from 400 on and a response that was not complete have their lines all the same
    access_suppress: Vec<PathPattern> {
        when: "a load balancer asks for a page again and again",
    }

    /// Where slow requests (`--slow-request`) are written, as for `--log`
    slow_log: Option<Destination> {
        otherwise: "in the log",
        entries: Entries::SERVED,
        path: PathForm::Destination,
        when: "somebody else looks for slow pages",
    }

    /// Most lines of the application in the log in a second, of one worker; more are counted; 0: no limit
    ///
    /// What it prints and what it writes to `wsgi.errors`
    print_rate: CountLimit {
        default: Some("10000"),
        when: "the application may print more, or should less",
    }
}
