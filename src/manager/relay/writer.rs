//! Writes what waits in a queue, and says what it could not write.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use contract::log::{Form, notice};
use rustix::io::Errno;
use tracing::{error, warn};

use super::output::Output;
use super::queue::{Queue, Work, lines};

/// A pause after a write that failed: the disk may have room again then, and the reason stands in the log.
const PAUSE: Duration = Duration::from_millis(100);

/// Memory that a burst of events has taken is given back above this.
const KEPT: usize = 64 * 1024;

pub(super) struct Writer {
    /// As the administrator calls it.
    destination: String,
    output: Output,
    /// Of the log, which says among its lines what was lost. Of others the log says it.
    form: Option<Form>,
    /// A line was written whose end could not be.
    torn: bool,
    /// Events that could not be written, and why.
    failed: Option<(u64, Errno)>,
}

impl Writer {
    pub(super) fn new(destination: String, output: Output, form: Option<Form>, torn: bool) -> Self {
        Self {
            destination,
            output,
            form,
            torn,
            failed: None,
        }
    }

    pub(super) fn run(&mut self, queue: &Arc<Queue>) {
        let mut events = Vec::new();
        while let Some(mut work) = queue.take(&mut events) {
            self.reopen(&mut work);
            if work.lost > 0 {
                let destination = &self.destination;
                warn!(
                    destination,
                    "{} lines were lost since it did not take them in time", work.lost
                );
            }
            if !events.is_empty() {
                self.write(&events, queue);
            }
            events.clear();
            events.shrink_to(KEPT);
        }
    }

    /// What waits goes into the new file: whoever asks for one may be about to put the old one away.
    fn reopen(&mut self, work: &mut Work) {
        if work.reopen.is_empty() {
            return;
        }
        let failed = match self.output.reopen() {
            Ok(()) => {
                // It begins with a line of its own.
                self.torn = false;
                None
            }
            Err(error) => Some((self.destination.clone(), io::Error::from(error).to_string())),
        };
        // Nobody waits for what is written next.
        work.reopen.drain(..).for_each(|reply| reply.tell(failed.clone()));
    }

    fn write(&mut self, events: &[u8], queue: &Queue) {
        self.torn = self.torn && !self.output.begins_anew();
        let mut first = if self.torn { vec![b'\n'] } else { Vec::new() };
        if let (Some(form), Some((lines, error))) = (self.form, self.failed) {
            let reason = io::Error::from(error);
            let what = format!("{lines} lines of the log were lost since they could not be written: {reason}");
            first.extend_from_slice(notice(form, &what).as_bytes());
        }
        let length = first.len();
        let gives_up = || queue.is_urgent();
        let written = if first.is_empty() {
            self.output.write(events, &gives_up)
        } else {
            first.extend_from_slice(events);
            self.output.write(&first, &gives_up)
        };
        let Err((written, error)) = written else {
            self.is_well();
            return;
        };
        let rest = &events[written.saturating_sub(length)..];
        let told = if self.form.is_some() && written >= length {
            None
        } else {
            self.failed
        };
        if self.form.is_none() && self.failed.is_none_or(|(_, known)| known != error) {
            let (destination, reason) = (&self.destination, io::Error::from(error));
            error!(
                destination,
                "lines can't be written and are lost until they can: {reason}"
            );
        }
        queue.count_lost(lines(rest));
        self.failed = Some((lines(rest) + told.map_or(0, |(lines, _)| lines), error));
        if written > 0 {
            let all = if first.is_empty() { events } else { &first };
            self.torn = all[written - 1] != b'\n';
        }
        thread::sleep(PAUSE);
    }

    fn is_well(&mut self) {
        self.torn = false;
        if let (None, Some((lines, error))) = (self.form, self.failed.take()) {
            let (destination, reason) = (&self.destination, io::Error::from(error));
            warn!(
                destination,
                "{lines} lines were lost since they could not be written: {reason}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use settings::values::{Destination, Format};

    use super::*;

    fn writer(output: impl Into<OwnedFd>, format: Format) -> (Writer, Queue) {
        let form = Some(Form {
            format,
            is_tagged: false,
        });
        let output = Output::Descriptor(output.into());
        (
            Writer::new("stderr".into(), output, form, false),
            Queue::new(form, false),
        )
    }

    #[test]
    fn full_disk_is_told_when_there_is_room_again() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (mut writer, queue) = writer(full, Format::Json);
        writer.write(b"one\ntwo\n", &queue);
        writer.write(b"three\n", &queue);
        let (reader, room) = std::io::pipe().unwrap();
        writer.output = Output::Descriptor(room.into());
        writer.write(b"four\n", &queue);
        drop(writer);
        let text = io::read_to_string(reader).unwrap();
        let (told, rest) = text.split_once('\n').unwrap();
        assert!(
            told.contains("3 lines of the log were lost since they could not be written: No space left on device"),
            "{told}"
        );
        assert_eq!((rest, queue.lost()), ("four\n", 3));
    }

    #[test]
    fn file_that_is_new_or_empty_begins_with_a_line_whatever_was_torn_in_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let output = Output::to(&Destination::File(path.clone())).unwrap();
        let queue = Queue::new(None, false);
        let mut writer = Writer::new("x.log".into(), output, None, false);
        let mut next = |emptied: &dyn Fn()| {
            writer.write(b"whole\nhalf", &queue);
            writer.torn = true;
            emptied();
            writer.write(b"next\n", &queue);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, "").unwrap();
            text
        };
        assert_eq!(next(&|| ()), "whole\nhalf\nnext\n");
        assert_eq!(next(&|| fs::write(&path, "").unwrap()), "next\n");
        let removed = || {
            fs::remove_file(&path).unwrap();
            // It is looked for once a second.
            thread::sleep(Duration::from_millis(1100));
        };
        assert_eq!(next(&removed), "next\n");
    }

    #[test]
    fn line_that_was_torn_ends_before_the_next() {
        let (mut reader, socket) = std::os::unix::net::UnixStream::pair().unwrap();
        // Full in the middle of a line, then closed for good: what can be seen of a disk that is full for a while.
        let (mut writer, queue) = writer(socket, Format::Text);
        writer.write(b"whole\nbegin", &queue);
        (writer.torn, writer.failed) = (true, Some((1, Errno::NOSPC)));
        writer.write(b"next\n", &queue);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            (lines.len(), &lines[..2], lines[3]),
            (4, ["whole", "begin"].as_slice(), "next")
        );
    }
}
