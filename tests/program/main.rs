//! The program by itself: command line, search for Python, sockets, supervisor. A script stands in for the interpreter
//! and its engine (`run.rs`), so everything here is about this side of the control socket; but
//! `wsgi-fpm check` (`file.rs`) imports real applications, and `wsgi-fpm ping` asks real ones.

#[path = "../support/mod.rs"]
mod support;

mod clone;
mod command_line;
mod config_writer;
mod control;
mod count_tests;
mod denied;
mod dev;
mod file;
mod listeners;
mod options;
mod pages;
mod ping;
mod pythons;
mod run;
mod service_manager;
mod steering;
mod supervisor;
mod units;
mod upgrade;
mod users;
