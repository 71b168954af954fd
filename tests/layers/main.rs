//! Holds the rules that `ARCHITECTURE.md` states: who may import whom, where `unsafe` lives, how long a file may be.
//! `links` does the same for the documentation: its links lead somewhere.
//!
//! Reads the sources as text: comments, literals and test modules are blanked, the rest is searched for paths. A module
//! that needs more than its rule allows changes the rule here and its row there, in the same commit.

mod links;
mod source;

use std::collections::BTreeSet;
use std::fs;

use source::{files, module, paths, relative, sources};

/// Modules of the engine, from below. Each may import those before it, none after it. The first that a path begins with counts.
/// `reactor` and `connection` are one type each, in several files that have no order.
const ENGINE: &[&str] = &[
    "base::ffi",
    "base::forked",
    "base::lost",
    "base::bell",
    "base::request_id",
    "base::printing",
    "base::sigpipe",
    "base::crash",
    "base::metrics",
    "base::modules",
    "base::output",
    "base",
    "request::body",
    "reactor",
    "request::carrier",
    "request::exchange",
    "request",
    "connection",
    "wsgi::type_name",
    "wsgi::traceback",
    "wsgi::lookup",
    "wsgi::params",
    "wsgi::forwarded",
    "wsgi::file_wrapper",
    "wsgi::client_gone",
    "wsgi::errors",
    "wsgi::printed",
    "wsgi::paths",
    "wsgi::lenient",
    "wsgi::head",
    "wsgi::response",
    "wsgi::reject",
    "wsgi::start_response",
    "wsgi::input",
    "wsgi::environ",
    "wsgi::respond",
    "wsgi::admission",
    "wsgi::call",
    "wsgi::app",
    "wsgi",
    "process::preload",
    "process::access",
    "process::status",
    "process::giver",
    "process::interrupt",
    "process::quota",
    "process::thread",
    "process::warmup",
    "process::receiver",
    "process::slow",
    "process::stacks",
    "process::overdue",
    "process::asked",
    "process::watchdog",
    "process::worker",
    "process::leader",
    "process::standalone",
    "process",
    "cgi",
];

/// Modules of the program, from below, by the same rule.
const PROGRAM: &[&str] = &[
    "stdout",
    "children",
    "inherited",
    "hosts",
    "readiness",
    "status::words",
    "mask",
    "status::snapshot",
    "status::summary",
    "status::history",
    "status::exposition",
    "status::application",
    "status::openmetrics",
    "status::accept",
    "users",
    "keeper",
    "service",
    "config",
    "engine",
    "python",
    "host",
    "upgrade",
    "pool",
    "manager",
    "status",
    "preview",
    "cli",
    "admin::protocol",
    "admin::client",
    "admin::directory",
    "admin::find",
    "admin::answers",
    "admin::server",
    "admin",
    "top",
    "script",
    "writer",
    "check",
    "ping",
    "pages",
    "serve",
    "dev",
];

/// What the code below a path must not name: crates, or paths inside its own crate.
const NEVER: &[(&str, &[&str])] = &[
    (
        "crates/fastcgi/src",
        &[
            "contract",
            "engine",
            "pyo3",
            "rustix",
            "libc",
            "tokio",
            "std::io",
            "std::net",
            "std::os",
            "std::time",
            "std::thread",
            "std::fs",
        ],
    ),
    (
        "crates/settings/src",
        &[
            "contract", "fastcgi", "engine", "pyo3", "rustix", "libc", "tokio", "clap",
        ],
    ),
    (
        "crates/contract/src",
        &["fastcgi", "engine", "pyo3", "tokio", "std::net::TcpStream"],
    ),
    ("crates/engine/src", &["tokio"]),
    (
        "crates/engine/src/wsgi",
        &[
            "fastcgi",
            "std::net",
            "rustix::net",
            "rustix::event",
            "crate::connection",
            "crate::reactor",
        ],
    ),
    (
        "crates/engine/src/reactor",
        &[
            "fastcgi",
            "pyo3",
            "crate::connection",
            "crate::wsgi",
            "crate::request::exchange",
        ],
    ),
    (
        "crates/engine/src/request/exchange",
        &["fastcgi", "crate::connection", "crate::reactor", "crate::wsgi"],
    ),
    (
        "crates/engine/src/request/body.rs",
        &["fastcgi", "pyo3", "crate::connection", "crate::request::exchange"],
    ),
    ("crates/engine/src/connection", &["pyo3", "crate::wsgi"]),
    ("src", &["pyo3", "engine"]),
    // It is there in no time, and asks any responder.
    (
        "src/ping",
        &["tokio", "crate::pool", "crate::manager", "crate::python", "crate::host"],
    ),
    // It prints what others are to do.
    (
        "src/writer",
        &[
            "tokio",
            "std::net::TcpStream",
            "std::process::Command",
            "crate::pool",
            "crate::manager",
            "crate::python",
            "crate::host",
        ],
    ),
];

/// Crates that only some parts of the program may name.
const ONLY_IN: &[(&str, &str, &[&str])] = &[
    ("src", "fastcgi", &["src/keeper", "src/preview", "src/ping"]),
    ("src", "hyper", &["src/preview", "src/ping", "src/status"]),
];

/// Where `unsafe` may stand, and what for.
const UNSAFE: &[(&str, &str)] = &[
    ("crates/engine/src/base/crash.rs", "signal handlers"),
    (
        "crates/engine/src/base/forked.rs",
        "handlers of pthread_atfork, and signals' dispositions",
    ),
    (
        "crates/engine/src/base/ffi.rs",
        "CPython's C API, where pyo3 has nothing safe",
    ),
    (
        "crates/engine/src/base/sigpipe.rs",
        "a thread's signal mask, around writes that can't say MSG_NOSIGNAL",
    ),
    ("crates/contract/src/shared.rs", "shared memory"),
    (
        "crates/contract/src/title.rs",
        "writing over the process's own arguments",
    ),
    ("src/host.rs", "loading libpython and calling its main function"),
    ("src/inherited.rs", "naming a descriptor by its number"),
    ("src/readiness.rs", "having tokio watch a descriptor of any kind"),
];

/// Lines of a file that are neither blank, comment nor test.
const LONGEST_FILE: usize = 500;
/// Longer ones, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Lines above an `unsafe` in which its SAFETY comment begins.
const SAFETY_WITHIN: usize = 6;

/// Whether `path` is `wanted` or lies below it.
fn is_below(path: &str, wanted: &str) -> bool {
    path == wanted || path.strip_prefix(wanted).is_some_and(|rest| rest.starts_with("::"))
}

fn is_inside(file: &str, place: &str) -> bool {
    file == place || file.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'))
}

#[track_caller]
fn none(violations: &[String], rule: &str) {
    assert!(violations.is_empty(), "{rule}:\n  {}", violations.join("\n  "));
}

#[test]
fn nobody_names_what_its_layer_does_not_know() {
    let mut violations = Vec::new();
    for source in sources() {
        for (line, path) in paths(&source) {
            for (place, forbidden) in NEVER {
                for wanted in forbidden.iter().filter(|wanted| is_below(&path, wanted)) {
                    if is_inside(&source.path, place) {
                        violations.push(format!(
                            "{}:{line} names {path}: {place} never names {wanted}",
                            source.path
                        ));
                    }
                }
            }
            for (place, wanted, allowed) in ONLY_IN {
                let is_allowed = allowed.iter().any(|allowed| is_inside(&source.path, allowed));
                if is_below(&path, wanted) && is_inside(&source.path, place) && !is_allowed {
                    let allowed = allowed.join(" and ");
                    violations.push(format!("{}:{line} names {path}: only {allowed} may", source.path));
                }
            }
        }
    }
    none(&violations, "a layer reaches too far");
}

#[test]
fn engine_modules_import_downwards_only() {
    downwards("crates/engine/src/", ENGINE);
}

#[test]
fn modules_of_the_program_import_downwards_only() {
    downwards("src/", PROGRAM);
}

/// `order`: the modules in the folder `root`, from below.
#[track_caller]
fn downwards(root: &str, order: &[&str]) {
    let rank = |path: &str| order.iter().position(|known| is_below(path, known));
    let mut violations = BTreeSet::new();
    let mut met = BTreeSet::new();
    for source in sources().iter().filter(|source| source.path.starts_with(root)) {
        let own = module(&source.path).join("::");
        if own.is_empty() {
            continue;
        }
        let Some(own_rank) = rank(&own) else {
            violations.insert(format!("{}: {own} has no place in the list of layers", source.path));
            continue;
        };
        met.insert(own_rank);
        for (line, path) in paths(source) {
            let other = path.strip_prefix("crate::").and_then(rank);
            if let Some(other) = other.filter(|other| *other > own_rank) {
                let other = order[other];
                violations.insert(format!("{}:{line}: {own} stands below {other}", source.path));
            }
        }
    }
    let missing = (0..order.len()).filter(|rank| !met.contains(rank));
    violations.extend(missing.map(|rank| format!("{}: no such module: take it off the list", order[rank])));
    none(&Vec::from_iter(violations), "a module imports from above");
}

#[test]
fn rules_are_about_paths_that_exist() {
    let rules = NEVER.iter().map(|(path, _)| path);
    let rules = rules.chain(
        ONLY_IN
            .iter()
            .flat_map(|(place, _, allowed)| std::iter::once(place).chain(*allowed)),
    );
    let sources = sources();
    let missing = rules.filter(|path| !sources.iter().any(|source| is_inside(&source.path, path)));
    none(
        &missing.map(|path| (*path).to_owned()).collect::<Vec<_>>(),
        "no such path: a rule that guards nothing",
    );
}

#[test]
fn unsafe_stands_where_it_is_allowed_and_is_argued_for() {
    let mut violations = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in source.code.lines().enumerate() {
            let Some((_, rest)) = line.split_once("unsafe") else {
                continue;
            };
            if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue; // unsafe_code and the like
            }
            let place = format!("{}:{}", source.path, at + 1);
            match UNSAFE.iter().find(|(path, _)| *path == source.path) {
                Some((path, _)) => _ = used.insert(*path),
                None => violations.push(format!("{place}: unsafe has no business here")),
            }
            let is_block = ["{", "impl", "fn"]
                .iter()
                .any(|what| rest.trim_start().starts_with(what));
            let above = &lines[at.saturating_sub(SAFETY_WITHIN)..at];
            if is_block && !above.iter().any(|line| line.trim_start().starts_with("// SAFETY: ")) {
                violations.push(format!("{place}: no SAFETY comment within {SAFETY_WITHIN} lines above"));
            }
        }
    }
    for (path, what) in UNSAFE.iter().filter(|(path, _)| !used.contains(path)) {
        violations.push(format!(
            "{path} needs no unsafe any more ({what}): take it off the list"
        ));
    }
    none(&violations, "unsafe");
}

#[test]
fn files_have_one_subject_and_a_module_comment() {
    let mut violations = Vec::new();
    for source in sources() {
        let lines = source.code.lines().filter(|line| !line.trim().is_empty()).count();
        let excuse = LONG_FILES.iter().find(|(path, _)| *path == source.path);
        match excuse {
            None if lines > LONGEST_FILE => {
                violations.push(format!(
                    "{} has {lines} lines of code: split it by subject",
                    source.path
                ));
            }
            Some(_) if lines <= LONGEST_FILE => {
                violations.push(format!("{} is short enough: take it off the list", source.path));
            }
            _ => {}
        }
        if !source.text.starts_with("//!") {
            violations.push(format!("{} does not begin by saying what it is", source.path));
        }
    }
    none(&violations, "files");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together, so that this file passes its own test.
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["X", "XX"],
        ["todo", "!"],
        ["unimpl", "emented!"],
    ]
    .map(|mark| mark.concat());
    let folders = [
        "src",
        "crates",
        "tests",
        "examples",
        "nginx",
        "deploy",
        "docs",
        "fuzz",
        "ci",
        ".ci",
        "benches",
        "Makefile",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
    ];
    let mut violations = Vec::new();
    for path in files(&folders, &[""]) {
        // What isn't text has no marks.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '!'));
            if words.into_iter().any(|word| marks.iter().any(|mark| word == mark)) {
                violations.push(format!("{}:{}: {}", relative(&path), at + 1, line.trim()));
            }
        }
    }
    none(
        &violations,
        "work left for later: do it, or write the limitation where a user would look",
    );
}
