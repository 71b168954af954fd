//! Whether somebody is let in who asks how the instance is, and who is inside: closed before another program takes this one's place,
//! which waits for those inside. Who comes then waits for that program.

use std::sync::Arc;

use tokio::sync::watch;

/// Open at first. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct Doors(Arc<State>);

#[derive(Debug, Default)]
struct State {
    closed: watch::Sender<bool>,
    inside: watch::Sender<usize>,
}

/// One who is inside, as long as it lives.
#[derive(Debug)]
pub struct Guest(Doors);

impl Doors {
    pub fn enter(&self) -> Guest {
        self.0.inside.send_modify(|inside| *inside += 1);
        Guest(self.clone())
    }

    pub fn open(&self) {
        self.0.closed.send_replace(false);
    }

    /// Nobody else is let in; ends when nobody is inside any more, and whoever is sees to it that this is soon.
    pub async fn close(&self) {
        self.0.closed.send_replace(true);
        self.wait(&self.0.inside, |inside| *inside == 0).await;
    }

    pub async fn are_closed(&self) {
        self.wait(&self.0.closed, |closed| *closed).await;
    }

    pub async fn are_open(&self) {
        self.wait(&self.0.closed, |closed| !closed).await;
    }

    async fn wait<T>(&self, value: &watch::Sender<T>, condition: impl FnMut(&T) -> bool) {
        // The sender is here as long as this is.
        let _ = value.subscribe().wait_for(condition).await;
    }
}

impl Guest {
    pub fn doors(&self) -> &Doors {
        &self.0
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.0.inside.send_modify(|inside| *inside -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn closing_waits_for_whoever_is_inside() {
        let doors = Doors::default();
        doors.are_open().await;
        let guests = [doors.enter(), doors.enter()];
        let closing = doors.clone();
        let mut closed = tokio::spawn(async move { closing.close().await });
        doors.are_closed().await;
        assert!(timeout(Duration::from_millis(20), &mut closed).await.is_err());
        drop(guests);
        closed.await.unwrap();
        doors.open();
        doors.are_open().await;
    }
}
