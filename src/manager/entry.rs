//! One pool as the manager knows it.

use std::time::Instant;

use tokio::sync::mpsc;

use crate::config::pools::Definition;
use crate::pool::Command;
use crate::service::Reload;

pub type Commands = mpsc::UnboundedSender<Command>;

/// A pool that runs.
pub struct Entry {
    /// `None`: unknown since another program has given this one its place back.
    pub definition: Option<Definition>,
    pub commands: Commands,
    /// Somebody has stopped it: it ends, or has.
    pub is_stopped: bool,
    /// When its task was over.
    pub ended: Option<Instant>,
}

impl Entry {
    pub fn new(definition: Option<Definition>, commands: Commands) -> Self {
        Self {
            definition,
            commands,
            is_stopped: false,
            ended: None,
        }
    }

    pub fn note_end(&mut self) {
        if self.commands.is_closed() {
            self.ended.get_or_insert_with(Instant::now);
        }
    }

    pub fn tell(&self, command: Command) {
        // A pool that has ended needs no telling.
        let _ = self.commands.send(command);
    }

    /// Takes over what the file says now; `anew`: is loaded anew if that is the same.
    pub fn become_it(&mut self, definition: Definition, reason: &str, anew: bool, reload: &Reload) {
        let is_same = |known: &Definition| known.is_same(&definition);
        if !self.definition.as_ref().is_some_and(is_same) {
            self.tell(Command::Change {
                definition: Box::new(definition.clone()),
                reason: format!("{reason}: the file, or its env_file, says something else of it"),
                reload: reload.clone(),
            });
        } else {
            let (reason, reload) = (reason.to_owned(), reload.clone());
            self.tell(match anew {
                true => Command::Reload { reason, reload },
                false => Command::Retry { reason, reload },
            });
        }
        self.definition = Some(definition);
    }
}
