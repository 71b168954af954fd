//! While the program gives its place to another one, nobody may change anything: each task says how things stand with it, and
//! rests until the other one is there, and this one is not, or is known not to come.

use std::io;

use tokio::sync::{mpsc, oneshot, watch};

/// How long tasks rest: as long as it lives.
#[derive(Debug)]
pub struct Resting {
    _until: watch::Sender<()>,
}

/// What a task is asked.
#[derive(Debug)]
pub struct Question<T> {
    answer: oneshot::Sender<io::Result<T>>,
    rest: Rest,
}

/// Until when a task rests.
#[derive(Debug, Clone)]
pub struct Rest(watch::Receiver<()>);

pub type Answer<T> = oneshot::Receiver<io::Result<T>>;

impl Resting {
    pub fn begin() -> (Self, Rest) {
        let (sender, receiver) = watch::channel(());
        (Self { _until: sender }, Rest(receiver))
    }
}

impl<T> Question<T> {
    pub fn new(rest: &Rest) -> (Self, Answer<T>) {
        let (answer, answered) = oneshot::channel();
        let rest = rest.clone();
        (Self { answer, rest }, answered)
    }

    /// Of a task that may have ended: then there is no answer.
    pub fn ask(rest: &Rest, whom: &mpsc::UnboundedSender<Self>) -> Answer<T> {
        let (question, answer) = Self::new(rest);
        let _ = whom.send(question);
        answer
    }

    pub fn rest(&self) -> Rest {
        self.rest.clone()
    }

    /// Answers, and returns when there is something to be done again.
    pub async fn answer(self, answer: io::Result<T>) {
        // Whoever has asked may have lost patience.
        let _ = self.answer.send(answer);
        self.rest.over().await;
    }
}

impl Rest {
    async fn over(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_has_answered_rests_until_the_asker_lets_go() {
        let (resting, rest) = Resting::begin();
        let (asks, mut asked) = mpsc::unbounded_channel::<Question<u32>>();
        let answer = Question::ask(&rest, &asks);
        let task = tokio::spawn(async move { asked.recv().await.unwrap().answer(Ok(7)).await });
        assert_eq!(answer.await.unwrap().unwrap(), 7);
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        drop(resting);
        task.await.unwrap();
        assert!(Question::ask(&rest, &asks).await.is_err(), "it has ended");
    }
}
