//! Who may ask how things are, or steer them, and where.

use crate::declaration::{Entries, PathForm, Scope, section};
use crate::values::{Account, Control, HostName, Mode, StatusAddress, UrlPath};

section! {
    /// How an instance is doing, for people and for monitoring; and where it is steered.
    Status = "Status";

    /// Where commands such as `wsgi-fpm status` reach it: the path of a unix socket; off: nowhere
    ///
    /// Its user and root alone can connect. `[server]` alone; it counts from the next start or upgrade on
    control: Option<Control> {
        otherwise: "`PID.control` in the first of `$RUNTIME_DIRECTORY`, `/run/wsgi-fpm` (root), `$XDG_RUNTIME_DIR/wsgi-fpm`, \
                    `/tmp/wsgi-fpm-UID`",
        scope: Scope::Server,
        entries: Entries::SERVED,
        when: "commands are to find it in a place of your own, or nobody is to steer it but by signals (`off`)",
        path: PathForm::Address,
    }

    /// Where the status page, /status.json, /metrics and /ping are served over HTTP: 127.0.0.1:9180 or /path/to.sock
    ///
    /// No login: whoever can connect sees paths of requests. On a loopback address that is everybody on this machine
    status_listen: Option<StatusAddress> {
        otherwise: "shown nowhere",
        scope: Scope::Server,
        entries: Entries::SERVED,
        when: "you want to see or to monitor what runs: [monitoring.md](monitoring.md)",
        path: PathForm::Address,
    }

    /// Permissions of the unix socket of `status_listen`, octal
    ///
    /// Whoever may connect sees everything
    status_mode: Mode {
        default: Some("0660"),
        scope: Scope::Server,
        entries: Entries::SERVED,
        when: "whoever monitors is neither its owner nor in its group",
    }

    /// Group of the unix socket of `status_listen`, a name or number
    ///
    /// Needs root or membership
    status_group: Option<Account> {
        value: "GROUP",
        otherwise: "that of whoever starts the program",
        scope: Scope::Server,
        entries: Entries::SERVED,
        when: "a web server shows the page: `www-data`",
    }

    /// Let `status_listen` name an address that other machines reach
    ///
    /// The page has no login: a firewall, or a network of its own, says who reaches it
    status_allow_remote: bool {
        default: Some("false"),
        scope: Scope::Server,
        entries: Entries::SERVED,
        when: "Prometheus runs elsewhere, or in another container",
    }

    /// Host name that requests to `status_listen` may be for, besides those of this machine; .example.org for all names that
    /// end so; can be repeated
    ///
    /// Others get 403, so that no site can read the page through somebody's browser
    status_host: Vec<HostName> {
        scope: Scope::Server,
        entries: Entries::SERVED,
        when: "it is reached by a name, such as that of a container",
    }

    /// Path at which the pool says through the web server how it is, as php-fpm does: /fpm-status, also with ?json, ?html, ?xml, ?openmetrics and ?full
    ///
    /// Answered without the application, even while every thread is stuck. Whoever can ask for the path sees what runs: the web
    /// server says who may
    status_path: Option<UrlPath> {
        otherwise: "no path",
        entries: Entries::SERVED,
        when: "something that knows php-fpm's status page is to monitor it; `status_listen` tells more",
    }

    /// Path at which the pool answers `pong` through the web server, as php-fpm does
    ///
    /// Answered without the application, even while every thread is stuck
    ping_path: Option<UrlPath> {
        otherwise: "no path",
        entries: Entries::SERVED,
        when: "a health check goes through the web server",
    }
}
