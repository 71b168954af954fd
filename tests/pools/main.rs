//! Many applications under one supervisor: `wsgi-fpm serve --config FILE` with real Pythons, real users and a real nginx.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod behind_nginx;
mod file;
mod house;
mod reload;
mod unit;
