//! The examples, each behind nginx with its own snippet, used as a person with a browser would.

mod django;
mod flask;
mod hello;
