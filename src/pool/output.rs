//! What a leader and its workers print becomes events of the log, a line each.

use contract::log::Lines;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tracing::{debug, info};

/// Logs what comes from `pipe` until its last writer is gone.
pub async fn log_lines(pipe: impl AsyncRead + Unpin, generation: u64) {
    let mut pipe = BufReader::new(pipe);
    let mut lines = Lines::default();
    loop {
        let bytes = match pipe.fill_buf().await {
            Ok(bytes) => bytes,
            Err(error) => {
                debug!(generation, %error, "the leader's output can't be read");
                break;
            }
        };
        if bytes.is_empty() {
            break;
        }
        lines.take(bytes, |line| log_line(line, generation));
        let used = bytes.len();
        pipe.consume(used);
    }
    lines.end(|line| log_line(line, generation));
}

fn log_line(line: &str, generation: u64) {
    let text = line.trim_end();
    if !text.is_empty() {
        info!(target: contract::log::APP, process = "leader", generation, "{text}");
    }
}
