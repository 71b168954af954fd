//! Limits on everything that a client, a web server or an application can use up (SPEC F10).

use crate::declaration::{Entries, section};
use crate::values::{AtLeastOne, CountLimit, Drain, Size, SizeLimit, Timeout, UpTo};

section! {
    /// Limits and timeouts.
    Limits = "Limits";

    /// Largest params of one request; more is answered with 431
    ///
    /// Params are headers and the like
    params_bytes: AtLeastOne<Size> {
        default: Some("256k"),
        when: "the web server allows larger headers; nginx, lighttpd and mod_fcgid stop at 64 KiB",
    }

    /// Most params of one request; more is answered with 431
    params_pairs: AtLeastOne<u32> {
        default: Some("1024"),
        when: "hardly ever",
    }

    /// Longest name of a param; more is answered with 431
    param_name: AtLeastOne<Size> {
        default: Some("1k"),
        when: "hardly ever",
    }

    /// Longest value of a param; more is answered with 431
    param_value: AtLeastOne<Size> {
        default: Some("64k"),
        when: "cookies or URLs that are larger, if the web server lets them through",
    }

    /// Open connections of one worker; at the limit idle ones make room for new ones
    ///
    /// Idle ones included. At the limit the one that has been idle for longest is closed for a new one that no other worker
    /// takes; if none is idle, new ones wait. The limit of open files is raised to fit
    connections: AtLeastOne<u32> {
        default: Some("1024"),
        when: "the web server keeps more connections than this times `workers`",
    }

    /// Requests on one kept connection, then it is closed; 0: no limit
    connection_requests: CountLimit {
        default: Some("10000"),
        when: "hardly ever",
    }

    /// Longest time from the start of a request to the end of its params
    ///
    /// Then the connection is closed
    params_timeout: Timeout {
        default: Some("10s"),
        when: "the web server sends over a slow network",
    }

    /// Longest idle time of a kept connection
    ///
    /// Longer than nginx's `keepalive_timeout` (60 s), so that nginx closes first
    idle_timeout: Timeout {
        default: Some("75s"),
        when: "that was changed in nginx: stay above it",
    }

    /// Longest silence inside a request body
    ///
    /// Then reading it raises `OSError`
    body_timeout: Timeout {
        default: Some("1m"),
        when: "the web server does not buffer uploads and clients pause for longer",
    }

    /// Longest time without progress in writing a response
    ///
    /// Then the request is aborted
    write_timeout: Timeout {
        default: Some("1m"),
        when: "the web server does not buffer responses and clients pause for longer",
    }

    /// How much of a body must have arrived before a thread takes the request
    ///
    /// All of it, if it is smaller. A slow upload holds no thread until then
    body_buffer: Size {
        default: Some("64k"),
        when: "more, if slow uploads occupy threads; `0` to begin at once",
    }

    /// How much of a body is kept in memory; the rest goes to a temporary file
    ///
    /// The file has no name. The bodies of all of a worker's connections have at most `threads` + 64 times as much together:
    /// what comes then goes to its file at once
    body_memory: Size {
        default: Some("128k"),
        when: "more, if uploads of that size are common and memory is there",
    }

    /// Largest body; more is answered with 413; 0: no limit
    body_max: SizeLimit {
        default: Some("1g"),
        when: "the web server's own limit (`client_max_body_size`) is larger",
    }

    /// Longest wait in front of the application, where the web server sends REQUEST_START; then 503
    ///
    /// The time in which a body arrives does not count. The log has ten lines about it a second and worker at most, then the number of the others
    queue_timeout: Timeout {
        default: Some("10s"),
        when: "clients give up sooner or later than that",
    }

    /// From when on a request is slow: its Python stack goes into the log, once; 0: never
    ///
    /// Nothing else happens to it. The log has ten slow requests a second and worker at most, then the number of the others
    slow_request: Timeout {
        default: Some("0"),
        when: "to find out what slow pages wait for; a second or two, above what uploads and streams take",
    }

    /// Longest run of one request; then 504
    ///
    /// `RequestTimeout` is raised in its thread. A response that is still being sent counts, too: downloads that the web
    /// server does not buffer must fit in
    request_timeout: Timeout {
        default: Some("5m"),
        when: "shorter for a site without slow pages; longer for long downloads and reports",
    }

    /// How long a request may go on after its request timeout before its worker is killed; 0: for ever
    ///
    /// Its connections are with others by then, and what else it runs has this time to end. The process of a script ends
    kill_timeout: Timeout {
        default: Some("30s"),
        when: "requests that clean up slowly",
    }

    /// Longest time from the start of a generation until it is ready; then it fails
    ///
    /// The log has the Python stack of what it was doing, and the generation before it serves on. Its turn, where many pools
    /// start, does not count. A worker that is to replace another one has as long, and then the next one is tried
    start_timeout: Timeout {
        default: Some("5m"),
        entries: Entries::SERVED.or(Entries::DEV),
        when: "longer for an application that loads large models; shorter to hear of an import that hangs sooner",
    }

    /// Most series of `wsgi_fpm.metrics`; further ones are not counted
    ///
    /// A series is one metric with one value for each of its labels. Each takes 512 bytes at most in memory that the pool shares,
    /// those of a gauge some more for each worker. They are kept until the pool stops, or this is changed
    metrics_series: UpTo<1_000_000> {
        default: Some("10000"),
        entries: Entries::SERVED.or(Entries::DEV),
        when: "the log says that series are not counted, and they are wanted",
    }

    /// Largest head of a response; more is answered with 500
    response_head: AtLeastOne<Size> {
        default: Some("64k"),
        when: "hardly ever; the web server's own limit is usually smaller (nginx: `fastcgi_buffer_size`)",
    }

    /// How much of a body is read and thrown away after an early response, or `all` of it
    ///
    /// Then the connection is closed. mod_fcgid sends everything before it reads
    drain_bytes: Drain {
        default: Some("16m"),
        default_of_scripts: Some("all"),
        when: "web servers that send everything before they read (Caddy) report errors instead of the application's 413",
    }

    /// Longest time for the same
    drain_timeout: Timeout {
        default: Some("5s"),
        when: "with `drain_bytes`",
    }

    /// From the request to stop until running requests are cut
    ///
    /// From SIGTERM, or from a reload. mod_fcgid kills after 3 s
    stop_timeout: Timeout {
        default: Some("30s"),
        default_of_scripts: Some("2500ms"),
        when: "requests that must not be cut take longer; the service manager must allow a few seconds more",
    }
}
