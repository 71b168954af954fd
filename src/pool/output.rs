//! What a leader prints, read for the log.

use contract::log::{Printed, Printer};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;
use tracing::debug;

/// Logs what comes from `pipe` until its last writer is gone, or gives it to `reader` if there is one.
pub async fn log_lines(pipe: impl AsyncRead + Unpin, generation: u64, reader: Option<mpsc::Sender<Vec<u8>>>) {
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
        match &reader {
            // What is more than somebody takes is lost.
            Some(reader) => _ = reader.try_send(bytes.to_owned()),
            None => printed.take(bytes),
        }
        let used = bytes.len();
        pipe.consume(used);
    }
    printed.end();
}
