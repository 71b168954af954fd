//! The same values as the engine has them.

use std::time::Duration;

use contract::log::{Format, Level};
use settings::sections;
use settings::values::{self, Drain, Timeout};

/// Far more than can ever come, and sums with it don't overflow.
const UNLIMITED: u64 = i64::MAX as u64;

pub fn limits(limits: &sections::Limits) -> contract::settings::Limits {
    let time = |timeout: Timeout| timeout.duration().unwrap_or(Duration::ZERO);
    contract::settings::Limits {
        params_bytes: limits.params_bytes.get().in_memory(),
        params_pairs: limits.params_pairs.get() as usize,
        param_name: limits.param_name.get().in_memory(),
        param_value: limits.param_value.get().in_memory(),
        connections: limits.connections.get() as usize,
        connection_requests: limits.connection_requests.get().unwrap_or(UNLIMITED),
        params_timeout: time(*limits.params_timeout),
        idle_timeout: time(*limits.idle_timeout),
        body_timeout: time(*limits.body_timeout),
        write_timeout: time(*limits.write_timeout),
        body_buffer: limits.body_buffer.in_memory(),
        body_memory: limits.body_memory.in_memory(),
        body_max: limits.body_max.bytes().unwrap_or(UNLIMITED),
        queue_timeout: time(*limits.queue_timeout),
        request_timeout: time(*limits.request_timeout),
        kill_timeout: time(*limits.kill_timeout),
        response_head: limits.response_head.get().in_memory(),
        drain_bytes: match *limits.drain_bytes {
            Drain::UpTo(size) => size.bytes(),
            Drain::All => u64::MAX,
        },
        drain_timeout: time(*limits.drain_timeout),
        stop_timeout: time(*limits.stop_timeout),
    }
}

pub fn level(level: values::Level) -> Level {
    match level {
        values::Level::Error => Level::Error,
        values::Level::Warn => Level::Warn,
        values::Level::Info => Level::Info,
        values::Level::Debug => Level::Debug,
        values::Level::Trace => Level::Trace,
    }
}

pub fn format(format: values::Format) -> Format {
    match format {
        values::Format::Text => Format::Text,
        values::Format::Json => Format::Json,
    }
}
