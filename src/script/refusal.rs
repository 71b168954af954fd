//! What the client of a CGI request gets when there is no Python to answer it. The reason stands in the web server's log.

use std::io::{self, Write};

use settings::sections::Limits;
use settings::values::Drain;

/// A document response (RFC 3875 section 6.2.1).
pub fn answer() {
    send("Status: 500 Internal Server Error\r\n");
}

/// For a script whose name promises the whole response (RFC 3875 section 5).
pub fn answer_nph() {
    send("HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n");
}

fn send(status: &str) {
    const BODY: &str = "500 Internal Server Error\n";
    let length = BODY.len();
    let is_head = std::env::var_os("REQUEST_METHOD").is_some_and(|method| method == "HEAD");
    let body = if is_head { "" } else { BODY };
    let page = format!("{status}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut stdout = io::stdout();
    // A client that is gone needs no answer.
    let _ = stdout.write_all(page.as_bytes()).and_then(|()| stdout.flush());
    // mod_cgid may still be sending a body.
    let longest = *Limits::default().drain_timeout;
    contract::drain::finish(&stdout, Drain::All, longest);
    contract::drain::read_pipe(io::stdin(), contract::cgi::content_length(), longest);
}
