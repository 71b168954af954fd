//! Where the web server connects.

use crate::declaration::{Entries, PathForm, Scope, section};
use crate::values::{Account, Address, Mode, UpTo};

/// Backlogs are C's int.
const MOST: u32 = i32::MAX as u32;

section! {
    /// The sockets that a pool listens on, and how they are made.
    Listen = "Listening";

    /// Where the web server connects: /path/to.sock, unix:/path, 127.0.0.1:9000, [::1]:9000, :9000 (loopback), fd:3
    /// or fd:NAME (inherited); can be repeated
    ///
    /// Up to 62 times
    listen: Vec<Address> {
        otherwise: "none, must be given",
        entries: Entries::SERVED,
        when: "see the table below",
        path: PathForm::Address,
    }

    /// Permissions of unix sockets, octal
    ///
    /// Whoever may connect can send any request
    listen_mode: Mode {
        default: Some("0660"),
        scope: Scope::Listener,
        entries: Entries::SERVED,
        when: "the web server is neither owner nor in the group and can't be put there",
    }

    /// Owner of unix sockets, a name or number
    ///
    /// Needs root
    listen_owner: Option<Account> {
        value: "USER",
        otherwise: "whoever starts the program",
        scope: Scope::Listener,
        entries: Entries::SERVED,
        when: "instead of a group",
    }

    /// Group of unix sockets, a name or number
    ///
    /// Needs root or membership
    listen_group: Option<Account> {
        value: "GROUP",
        otherwise: "that of whoever starts the program",
        scope: Scope::Listener,
        entries: Entries::SERVED,
        when: "the web server's group, such as `www-data`: the usual way to let it in",
    }

    /// Connections that wait in the kernel for a free thread; Linux caps it at net.core.somaxconn
    ///
    /// Further ones are refused, and nginx answers 502. A warning tells if Linux allows fewer
    backlog: UpTo<MOST> {
        default: Some("1024"),
        scope: Scope::Listener,
        entries: Entries::SERVED,
        when: "bursts are refused; raise the sysctl as well",
    }
}
