//! The terminal: taken over while this runs, and given back as it was, however this ends.

use std::io::{self, BufWriter, IsTerminal, Stdout, stdin, stdout};
use std::panic;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::style::ResetColor;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::termios::tcgetwinsize;

/// Of a terminal that does not say how large it is: one on a serial line.
const USUAL: Rect = Rect::new(0, 0, 80, 24);
/// Bytes of what is drawn that are written at a time.
const BUFFER: usize = 32 * 1024;
/// As Rust's own after a panic.
const EXIT_PANIC: i32 = 101;

/// Why nothing can be shown here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScreenError {
    #[error("this is no terminal, and there is nothing to draw on; `wsgi-fpm status --json` prints the same once")]
    NoTerminal,
    #[error("this terminal can't be drawn on (TERM=dumb); `wsgi-fpm status` prints the same once")]
    Dumb,
}

pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    area: Rect,
}

/// # Errors
/// There is none that can be drawn on.
pub fn check() -> Result<(), ScreenError> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(ScreenError::NoTerminal);
    }
    match std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        true => Err(ScreenError::Dumb),
        false => Ok(()),
    }
}

impl Screen {
    /// Takes the terminal over. A panic of any thread gives it back before it says anything, and ends the program.
    ///
    /// # Errors
    /// The terminal's.
    pub fn enter() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
            std::process::exit(EXIT_PANIC);
        }));
        let area = size();
        let viewport = Viewport::Fixed(area);
        let backend = CrosstermBackend::new(BufWriter::with_capacity(BUFFER, stdout()));
        let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
        let mut screen = Self { terminal, area };
        screen.take()?;
        Ok(screen)
    }

    fn take(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, Clear(ClearType::All))
    }

    /// Gives it back for a while.
    pub fn leave(&mut self) {
        give_back();
    }

    /// Takes it over again, whatever somebody else has done to it.
    ///
    /// # Errors
    /// The terminal's.
    pub fn again(&mut self) -> io::Result<()> {
        give_back_input();
        self.take()?;
        self.terminal.resize(self.area)
    }

    /// # Errors
    /// The terminal's.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        let area = size();
        if area != self.area {
            self.terminal.resize(area)?;
            self.area = area;
        }
        self.terminal.draw(draw)?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn size() -> Rect {
    match tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Rect::new(0, 0, size.ws_col, size.ws_row),
        _ => USUAL,
    }
}

/// Puts the terminal back as it was. What fails here nobody can help.
fn give_back() {
    let _ = execute!(stdout(), ResetColor, LeaveAlternateScreen, Show);
    give_back_input();
}

/// As far as that can be done while a thread is stuck in writing.
pub fn give_back_input() {
    let _ = disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::Command;
    use std::{env, thread};

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::tcgetattr;

    use super::*;

    const PANICS: &str = "WSGI_FPM_TEST_PANICS";

    #[test]
    fn panic_gives_the_terminal_back_before_it_is_told() {
        if env::var_os(PANICS).is_some() {
            let _screen = Screen::enter().unwrap();
            let _ = thread::spawn(|| panic!("of some thread")).join();
            unreachable!("the program goes on");
        }
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let ours = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
        let modes = || tcgetattr(&ours).map(|modes| (modes.local_modes, modes.input_modes, modes.output_modes));
        let before = modes().unwrap();
        let copy = || ours.try_clone().unwrap();
        let test = "top::screen::tests::panic_gives_the_terminal_back_before_it_is_told";
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]).env(PANICS, "1");
        let mut child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        drop(command);
        let shown = thread::spawn(move || {
            let mut text = Vec::new();
            // It ends with an error when nobody has the other side open any more.
            let _ = File::from(terminal).read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        assert_eq!(child.wait().unwrap().code(), Some(EXIT_PANIC));
        assert_eq!(modes().unwrap(), before);
        drop(ours);
        let shown = shown.join().unwrap();
        let place = |part: &str| shown.find(part).unwrap_or_else(|| panic!("no {part:?} in {shown:?}"));
        assert!(
            place("\x1b[?1049h") < place("\x1b[?1049l") && place("\x1b[?1049l") < place("of some thread"),
            "{shown:?}"
        );
        assert!(shown.contains("\x1b[?25h"), "the cursor: {shown:?}");
    }
}
