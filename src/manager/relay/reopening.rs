//! Files that are opened anew: what became of each.

use tokio::sync::mpsc;

/// One that could not be, and why.
pub type Failed = (String, String);

/// Whom to tell what became of a file.
#[derive(Debug, Clone)]
pub(super) struct Reply(mpsc::UnboundedSender<Option<Failed>>);

/// Files that are being opened anew.
#[derive(Debug)]
pub struct Reopening {
    /// How many.
    pub files: usize,
    answers: mpsc::UnboundedReceiver<Option<Failed>>,
}

impl Reopening {
    pub(super) fn new() -> (Reply, Self) {
        let (reply, answers) = mpsc::unbounded_channel();
        (Reply(reply), Self { files: 0, answers })
    }

    /// Waits until all have been tried; those that could not be opened.
    pub async fn failed(mut self) -> Vec<Failed> {
        let mut failed = Vec::new();
        while let Some(answer) = self.answers.recv().await {
            failed.extend(answer);
        }
        failed
    }
}

impl Reply {
    pub(super) fn tell(&self, failed: Option<Failed>) {
        // Nobody may want to know.
        let _ = self.0.send(failed);
    }
}
