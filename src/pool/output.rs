//! What a leader prints, read for the log.

use contract::log::{Printed, Printer};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tracing::debug;

/// Logs what comes from `pipe` until its last writer is gone.
pub async fn log_lines(pipe: impl AsyncRead + Unpin, generation: u64) {
    let mut pipe = BufReader::new(pipe);
    let mut printed = Printed::new(Printer::Leader { generation });
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
        printed.take(bytes);
        let used = bytes.len();
        pipe.consume(used);
    }
    printed.end();
}
