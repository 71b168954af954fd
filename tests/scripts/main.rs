//! Scripts that a web server starts: one CGI request in a process, FastCGI on a listening standard input, and the options in
//! the script. Here the test is the web server; real ones are in tests/frontends.

#[path = "../support/mod.rs"]
mod support;

mod block;
mod broken;
mod cgi;
mod cgi_log;
mod cgi_streams;
mod fastcgi;
mod imports;
mod script;
mod stopping;
mod terminal;
mod time_limit;
