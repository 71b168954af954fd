//! What everything else stands on: the C API, signals, descriptors, what is printed. Knows no request.

pub mod bell;
pub mod crash;
pub mod defect;
pub mod ffi;
pub mod forked;
pub mod lost;
pub mod metrics;
pub mod modules;
pub mod output;
pub mod printing;
pub mod request_id;
pub mod sigpipe;
