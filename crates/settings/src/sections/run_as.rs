//! As whom, and within which bounds of the system, a pool's processes run.

use crate::declaration::{Entries, section};
use crate::values::{Account, Mode, Niceness, ResourceLimit};

section! {
    /// The user of a pool's processes, and what the system allows them. Set before Python starts.
    RunAs = "User";

    /// Who runs the application; needs root
    ///
    /// From before Python starts, and for good: the supervisor alone stays who it is. `HOME`, `USER`, `LOGNAME` and `SHELL`
    /// are this user's. `root` is possible, and the log says so. An application's script can't say it
    user: Option<Account> {
        value: "USER",
        otherwise: "who starts the program; as root, a pool of the file must name one",
        entries: Entries::SERVED,
        when: "the program is started as root: one user for each application",
    }

    /// Group of the same
    group: Option<Account> {
        value: "GROUP",
        otherwise: "the user's own",
        entries: Entries::SERVED,
        when: "the files of the application belong to another group",
    }

    /// Further group of the same, instead of those that the system's accounts say; can be repeated
    groups: Vec<Account> {
        value: "GROUP",
        otherwise: "those of the user",
        entries: Entries::SERVED,
        when: "the application is to read what another group owns, or nothing of what its user's groups may",
    }

    /// Permissions that files made by the application do not get, octal
    umask: Option<Mode> {
        otherwise: "as who starts the program",
        entries: Entries::SERVED,
        when: "what the application makes is for others of its group to write (`0002`), or for nobody else to read \
               (`0077`)",
    }

    /// Resource limit of the application's processes, such as nofile=4096 or core=0; can be repeated
    ///
    /// Soft and hard limit are both set to it, and it counts more than what the program asks for by itself (`nofile`). Names
    /// are those of `prlimit`: as, core, cpu, data, fsize, memlock, msgqueue, nice, nofile, nproc, rss, rtprio,
    /// rttime, sigpending, stack; `unlimited` is possible
    rlimit: Vec<ResourceLimit> {
        otherwise: "as who starts the program",
        entries: Entries::SERVED,
        when: "an application must not use up what others need",
    }

    /// Niceness of the application's processes, from -20 to 19; below the program's own needs root
    nice: Option<Niceness> {
        otherwise: "as who starts the program",
        entries: Entries::SERVED,
        when: "one application is to yield to others when processors are scarce",
    }
}
