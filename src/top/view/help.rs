//! What the keys do, and what is meant by some words.

pub const LINES: &[&str] = &[
    "arrows, j k        one up or down; PgUp PgDn, Home End (g G) further",
    "Enter, right, l    open the pool; in a pool: the stack of the thread",
    "Esc, left, h       back; Backspace, too. First without the filter",
    "Tab                in a pool: the other table, workers or threads",
    "s                  sort by the next column, whose head is underlined",
    "r                  the other way round",
    "/                  show only what has this text in it, in any column",
    "t                  what the selected thread, or each thread of the selected",
    "                   worker, does in Python; nothing is stopped for it",
    "p                  pause: nothing is asked, and everything stays as it is",
    "q, Ctrl-C          quit; Ctrl-Z: to the shell, fg comes back",
    "",
    "REQ/S, 5XX/S, P50, P99   of the last five seconds, or of one interval if",
    "                   that is longer: not since the start, as in status",
    "BUSY               threads that run a request, of how many",
    "WAIT               connections that no thread has taken yet",
    "LONGEST, FOR       for how long the longest request, and this one, has run",
    "MEMORY             of the workers together, what they share counted once",
];
