//! What `make dist` has made: one file that runs wherever there is Linux with a C library of the last years, alike wherever it was
//! built, and with everything that it needs inside.

#[path = "../support/mod.rs"]
mod support;

mod alike;
mod binary;
mod loading;
mod release;
mod wheel;
mod without;
