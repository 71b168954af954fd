//! The loop: what is typed, what is answered and what signals say, one after the other, and after each the screen.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal, raise};
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use rustix::event::{PollFd, PollFlags, poll};

use super::app::{App, Wish};
use super::ask::{self, Asker, Question};
use super::screen::{self, Screen};
use super::view::{self, Look};
use crate::admin::protocol::Worker;
use crate::cli::TopArgs;
use crate::status::snapshot::Snapshot;

/// Times that are shown go on, whoever is silent.
const TICK: Duration = Duration::from_secs(1);
/// Messages that wait: a terminal that types faster waits itself.
const QUEUE: usize = 64;
/// For so long a signal waits for the screen to be given back in order; that may be stuck in writing.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub enum Message {
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    Snapshot(Result<Box<(PathBuf, Snapshot)>, String>),
    Stacks(u64, Result<Worker, String>),
    Signal(Signal),
    /// The terminal is gone.
    HungUp,
}

/// How it ended.
enum End {
    Quit,
    Killed(Signal),
    HungUp,
}

/// # Errors
/// There is no terminal, no instance, or it does not answer.
pub fn run(args: TopArgs) -> anyhow::Result<ExitCode> {
    screen::check()?;
    let pool = args.pool.map(|pool| pool.as_str().to_owned());
    let mut asker = Asker::new(args.which, pool.clone());
    // Who asks for what is not there is told so as by every other command.
    let first = asker.snapshot()?;
    let mut app = App::new(args.interval, pool, Instant::now());
    app.hear(Ok(first), Instant::now());
    // Before there are threads: only one of them is to get these.
    let signals = signals();
    signals.thread_block()?;
    let end = watch(app, asker, signals)?;
    Ok(match end {
        End::Quit => ExitCode::SUCCESS,
        End::Killed(signal) => {
            // As if nobody had caught it.
            let _ = signals.thread_unblock();
            let _ = raise(signal);
            ExitCode::from(128 + signal as u8)
        }
        End::HungUp => ExitCode::FAILURE,
    })
}

fn watch(mut app: App, asker: Asker, signals: SigSet) -> anyhow::Result<End> {
    let look = Look::of_environment();
    let (sender, messages) = sync_channel(QUEUE);
    let pause = asker.go_on(app.interval, sender.clone())?;
    let questions = ask::workers(sender.clone())?;
    let mut screen = Screen::enter().context("the terminal can't be used")?;
    listen(&sender, signals)?;
    loop {
        let now = Instant::now();
        screen.draw(|frame| view::draw(&app, look, now, frame))?;
        let mut message = match messages.recv_timeout(TICK) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(End::HungUp),
        };
        // Everything that has come is shown at once.
        for _ in 0..QUEUE {
            let Some(next) = message else { break };
            let flow = heard(&mut app, next, &mut screen, |wish, app| match wish {
                // These threads end with this one.
                Wish::Pause(paused) => _ = pause.send(paused),
                Wish::Stacks { number, pool, worker } => {
                    let control = app.control.clone();
                    _ = questions.send(Question {
                        number,
                        control,
                        pool,
                        worker,
                    });
                }
                Wish::Quit | Wish::Suspend => {}
            })?;
            if let ControlFlow::Break(end) = flow {
                return Ok(end);
            }
            message = messages.try_recv().ok();
        }
    }
}

fn heard(
    app: &mut App,
    message: Message,
    screen: &mut Screen,
    ask: impl FnOnce(Wish, &App),
) -> io::Result<ControlFlow<End>> {
    let now = Instant::now();
    match message {
        Message::Key(key) => match app.key(key, now) {
            Some(Wish::Quit) => return Ok(ControlFlow::Break(End::Quit)),
            Some(Wish::Suspend) => suspend(screen)?,
            Some(wish) => ask(wish, app),
            None => {}
        },
        Message::Resized => {}
        Message::Snapshot(answer) => app.hear(answer.map(|answer| *answer), now),
        Message::Stacks(number, answer) => app.hear_stacks(number, answer),
        Message::Signal(Signal::SIGTSTP) => suspend(screen)?,
        Message::Signal(Signal::SIGCONT) => screen.again()?,
        Message::Signal(signal) => return Ok(ControlFlow::Break(End::Killed(signal))),
        Message::HungUp => return Ok(ControlFlow::Break(End::HungUp)),
    }
    Ok(ControlFlow::Continue(()))
}

/// Until a shell has this go on.
fn suspend(screen: &mut Screen) -> io::Result<()> {
    screen.leave();
    raise(Signal::SIGSTOP)?;
    screen.again()
}

fn signals() -> SigSet {
    [
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
        Signal::SIGCONT,
    ]
    .into_iter()
    .collect()
}

/// Tells what is typed, what signals say, and when the terminal is gone.
fn listen(messages: &SyncSender<Message>, signals: SigSet) -> io::Result<()> {
    let sender = messages.clone();
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            let message = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Message::Key(key),
                Ok(Event::Resize(..)) => Message::Resized,
                Ok(_) => continue,
                Err(_) => Message::HungUp,
            };
            let ends = matches!(message, Message::HungUp);
            if sender.send(message).is_err() || ends {
                return;
            }
        }
    })?;
    let sender = messages.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while let Ok(signal) = signals.wait() {
            let goes_on = matches!(signal, Signal::SIGTSTP | Signal::SIGCONT);
            // Where so much waits already nobody listens.
            let _ = sender.try_send(Message::Signal(signal));
            if !goes_on {
                thread::sleep(GRACE);
                screen::give_back_input();
                std::process::exit(128 + signal as i32);
            }
        }
    })?;
    let sender = messages.clone();
    // The thread for keys would read the end of one without an end.
    thread::Builder::new().name("terminal".to_owned()).spawn(move || {
        let stdin = io::stdin();
        let mut end = [PollFd::new(&stdin, PollFlags::empty())];
        while let Err(rustix::io::Errno::INTR) = poll(&mut end, None) {}
        let _ = sender.send(Message::HungUp);
    })?;
    Ok(())
}
