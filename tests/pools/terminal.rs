//! A person at a terminal: what stands on the screen, and typing.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, OutputModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::pty;
use crate::support::wait::{SOON, until, until_some};

/// One program on it, whose controlling terminal it is.
pub struct Terminal {
    typed: File,
    /// Programs' end: the terminal stays when they have ended.
    _ours: OwnedFd,
    parser: Arc<Mutex<vt100::Parser>>,
    modes: (LocalModes, OutputModes),
    child: Child,
}

impl Terminal {
    /// Runs a command on one of 80x24.
    pub fn run(command: &Command) -> Self {
        Self::sized(command, 80, 24)
    }

    pub fn sized(command: &Command, columns: u16, rows: u16) -> Self {
        let (terminal, ours) = pty::open();
        set_size(&terminal, columns, rows);
        let modes = modes(&terminal);
        // It keeps the pid.
        let mut session = Command::new("setsid");
        session
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        session.env_remove("NO_COLOR").env("TERM", "xterm");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let copy = || ours.try_clone().unwrap();
        session.stdin(copy()).stdout(copy()).stderr(copy());
        let child = session.spawn().unwrap();
        let parser = Arc::new(Mutex::new(parser(columns, rows)));
        let mut shown = File::from(terminal.try_clone().unwrap());
        let shows = Arc::clone(&parser);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = shown.read(&mut bytes) {
                shows.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self {
            typed: terminal.into(),
            _ours: ours,
            parser,
            modes,
            child,
        }
    }

    /// What stands on the screen.
    pub fn screen(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// The same as a page, with its colours.
    pub fn html(&self) -> String {
        let parser = self.parser.lock().unwrap();
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let mut page = String::from(
            "<meta charset=utf-8><body style='margin:0;background:#16181d'><pre style='margin:0;padding:12px 14px;\
             display:inline-block;color:#d5d8de;font:14px/1.35 \"DejaVu Sans Mono\",monospace'>",
        );
        for row in 0..rows.get() {
            for column in 0..columns.get() {
                let Some(cell) = screen.cell(row, column) else { continue };
                let text = if cell.has_contents() { cell.contents() } else { " " };
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                page.push_str(&format!("<span style='{}'>{text}</span>", style(cell)));
            }
            page.push('\n');
        }
        page + "</pre>"
    }

    pub fn type_keys(&mut self, keys: &str) {
        self.typed.write_all(keys.as_bytes()).unwrap();
    }

    pub fn has_colours(&self) -> bool {
        let parser = self.parser.lock().unwrap();
        let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| parser.screen().cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    }

    /// Waits for a screen, and gives it.
    #[track_caller]
    pub fn wait(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + SOON;
        loop {
            let screen = self.screen();
            if is_it(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "waited in vain: {what}; there is\n{screen}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    pub fn wait_for(&self, part: &str) -> String {
        self.wait(part, |screen| screen.contains(part))
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        *self.parser.lock().unwrap() = parser(columns, rows);
        set_size(&self.typed, columns, rows);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until a signal has stopped it.
    #[track_caller]
    pub fn wait_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.pid());
        until("it is stopped", SOON, || {
            fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))
        });
    }

    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until_some("the program on the terminal ends", SOON, || child.try_wait().unwrap())
    }

    /// The shell's lines are there again, with its cursor, and what is typed is shown.
    #[track_caller]
    pub fn assert_given_back(&self) {
        until("the screen is as before", SOON, || {
            let parser = self.parser.lock().unwrap();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        });
        assert_eq!(modes(&self.typed), self.modes);
    }

    /// It is a program's.
    #[track_caller]
    pub fn assert_taken(&self) {
        let parser = self.parser.lock().unwrap();
        assert!(parser.screen().alternate_screen() && parser.screen().hide_cursor());
        assert_ne!(modes(&self.typed), self.modes);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn style(cell: &vt100::Cell) -> String {
    const PALETTE: [&str; 8] = [
        "#4b5263", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#abb2bf",
    ];
    let colour = |colour, default: &str| match colour {
        vt100::Color::Default => default.to_owned(),
        vt100::Color::Idx(number) => PALETTE[usize::from(number) % PALETTE.len()].to_owned(),
        vt100::Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
    };
    let (mut front, mut back) = (colour(cell.fgcolor(), "#d5d8de"), colour(cell.bgcolor(), "#16181d"));
    if cell.inverse() {
        std::mem::swap(&mut front, &mut back);
    }
    let weight = if cell.bold() { 700 } else { 400 };
    let opacity = if cell.dim() { 0.6 } else { 1.0 };
    format!("color:{front};background:{back};font-weight:{weight};opacity:{opacity}")
}

fn parser(columns: u16, rows: u16) -> vt100::Parser {
    let size = |number: u16| number.try_into().unwrap();
    vt100::Parser::new(size(rows), size(columns), 0)
}

fn set_size(terminal: impl AsFd, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

/// Of programs' end, which the other one knows.
fn modes(terminal: impl AsFd) -> (LocalModes, OutputModes) {
    let modes = tcgetattr(terminal).unwrap();
    (modes.local_modes, modes.output_modes)
}
