//! Many applications under one supervisor: `wsgi-fpm serve --config FILE` with real Pythons, real users and a real nginx.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod asked;
mod behind_nginx;
mod commands;
mod file;
mod house;
mod keeper;
mod keeper_nginx;
mod log_services;
mod logs;
mod page;
mod prometheus;
mod reload;
mod resting;
mod second;
mod status;
mod status_path;
mod stopping;
mod terminal;
mod top;
mod unit;
