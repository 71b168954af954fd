//! `wsgi-fpm top` on a terminal, as somebody sees it who types.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Action, tcflow, tcgetattr};

use crate::house::{House, pool};
use crate::page::UPDATE;
use crate::support::chromium::Browser;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::installed;
use crate::support::program::program;
use crate::support::pty;
use crate::support::wait::{SOON, until, until_some};
use crate::terminal::Terminal;

fn top(house: &House, arguments: &[&str]) -> Command {
    let mut command = house.command(&["top", "--interval", "0.2"]);
    command.args(arguments);
    command
}

fn serve(pools: &[&str]) -> House {
    let pools: Vec<_> = pools.iter().map(|name| pool(name, "")).collect();
    House::serve(&pools)
}

/// A request that takes a minute.
fn sleep(house: &House, pool: &str, path: &str) -> Raw {
    let mut sleeping = Raw::connect(&house.socket(pool)).unwrap();
    sleeping.send(&Request::get(path).bytes());
    sleeping
}

#[test]
fn pool_is_opened_its_thread_found_and_its_stack_shown() {
    let house = serve(&["blog", "shop"]);
    house.wait_ready("blog");
    house.wait_ready("shop");
    let _sleeping = sleep(&house, "shop", "/sleep\x1b]0;title\x07\x1b[31m/report");
    let mut terminal = Terminal::run(&top(&house, &[]));
    let screen = terminal.wait("a busy thread", |screen| screen.contains("1/2"));
    terminal.assert_taken();
    for part in [
        "wsgi-fpm ",
        "requests/s",
        "1/4 busy",
        "POOL",
        "blog",
        "shop",
        "serving",
        "q quit",
    ] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    let lines: Vec<_> = screen.lines().collect();
    assert!(lines.len() == 24 && lines[23].contains("? help"), "{screen}");
    // The second pool: an arrow, and Enter.
    terminal.type_keys("\x1b[B\r");
    let screen = terminal.wait_for("/report");
    assert!(screen.contains("shop: serving") && screen.contains("idle"), "{screen}");
    // Nothing of the path steers the terminal.
    assert!(
        screen.contains(r"GET /sleep\x1b]0;title\x07\x1b[31m/report"),
        "{screen}"
    );
    // Of the thread that has run longest, which is the first one.
    terminal.type_keys("t");
    let screen = terminal.wait_for("who.py");
    assert!(
        screen.contains("in application") && screen.contains("shop, worker "),
        "{screen}"
    );
    terminal.type_keys("\x1b");
    terminal.wait_for("WORKER");
    terminal.type_keys("/idle\r");
    let screen = terminal.wait("the filter", |screen| {
        screen.contains("/idle Esc all") && !screen.contains("/report")
    });
    assert!(screen.contains("idle"), "{screen}");
    terminal.type_keys("\x7f");
    terminal.wait_for("/report");
    terminal.type_keys("\x7f");
    terminal.wait_for("POOL");
    terminal.type_keys("?");
    terminal.wait_for("REQ/S, 5XX/S");
    terminal.type_keys("q");
    assert!(terminal.exit().success());
    terminal.assert_given_back();
    // Nobody's request was disturbed by it.
    assert_eq!(house.get("shop", "/").ok().code(), 200);
}

#[test]
fn one_pool_is_opened_at_once_and_an_unknown_one_is_an_error() {
    let house = serve(&["blog", "shop"]);
    house.wait_ready("shop");
    let mut terminal = Terminal::run(&top(&house, &["shop"]));
    let screen = terminal.wait_for("THREAD");
    assert!(screen.contains("shop: serving") && !screen.contains("blog"), "{screen}");
    // Ctrl-C.
    terminal.type_keys("\x03");
    assert!(terminal.exit().success());
    terminal.assert_given_back();
    let mut terminal = Terminal::run(&top(&house, &["none"]));
    assert_eq!(terminal.exit().code(), Some(1));
    terminal.wait_for("wsgi-fpm: error: there is no pool \"none\"; there are: blog, shop");
    terminal.assert_given_back();
}

#[test]
fn without_a_terminal_it_says_what_to_type() {
    let house = serve(&["blog"]);
    house.wait_ready("blog");
    let (_shown, ours) = pty::open();
    let copy = || Stdio::from(ours.try_clone().unwrap());
    for (stdin, stdout) in [(copy(), Stdio::piped()), (Stdio::null(), copy())] {
        let mut command = top(&house, &[]);
        let child = command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "wsgi-fpm: error: this is no terminal, and there is nothing to draw on; `wsgi-fpm status --json` prints the same once\n"
        );
    }
    let mut terminal = Terminal::run(top(&house, &[]).env("TERM", "dumb"));
    assert_eq!(terminal.exit().code(), Some(2));
    terminal.wait_for("TERM=dumb");
    // Without an instance, too, the terminal stays as it is.
    let mut terminal = Terminal::run(Command::new(program()).args(["top", "--control", "/no/such.control"]));
    assert_eq!(terminal.exit().code(), Some(2));
    terminal.wait_for("there is no such socket");
    terminal.assert_given_back();
    for wrong in ["0", "0.01", "3601", "-1", "nan", "x"] {
        let typed = format!("--interval={wrong}");
        let output = Command::new(program()).args(["top", &typed]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("seconds from 0.1 to 3600") && text.lines().count() == 1,
            "{text}"
        );
    }
}

#[test]
fn signals_end_it_with_the_terminal_as_before() {
    use std::os::unix::process::ExitStatusExt;
    let house = serve(&["blog"]);
    house.wait_ready("blog");
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut terminal = Terminal::run(&top(&house, &[]));
        terminal.wait_for("POOL");
        terminal.signal(signal);
        assert_eq!(
            terminal.exit().signal(),
            Some(signal.as_raw()),
            "as if nobody had caught it"
        );
        terminal.assert_given_back();
    }
}

#[test]
fn stopped_it_gives_the_terminal_to_the_shell_and_takes_it_again() {
    let house = serve(&["blog"]);
    house.wait_ready("blog");
    let mut terminal = Terminal::run(&top(&house, &[]));
    terminal.wait_for("POOL");
    for way in ["Ctrl-Z", "SIGTSTP"] {
        match way {
            "Ctrl-Z" => terminal.type_keys("\x1a"),
            _ => terminal.signal(Signal::TSTP),
        }
        terminal.wait_stopped();
        terminal.assert_given_back();
        assert!(!terminal.screen().contains("POOL"), "{way}");
        terminal.signal(Signal::CONT);
        terminal.wait_for("POOL");
        terminal.assert_taken();
    }
    // Somebody else has stopped it, and has put the terminal in order.
    terminal.signal(Signal::STOP);
    terminal.wait_stopped();
    terminal.resize(80, 24);
    assert!(!terminal.screen().contains("POOL"));
    terminal.signal(Signal::CONT);
    terminal.wait_for("POOL");
    terminal.type_keys("q");
    assert!(terminal.exit().success());
    terminal.assert_given_back();
}

#[test]
fn terminal_that_takes_nothing_does_not_keep_it_from_ending() {
    let house = serve(&["blog"]);
    house.wait_ready("blog");
    let (shown, ours) = pty::open();
    let copy = || Stdio::from(ours.try_clone().unwrap());
    let mut command = top(&house, &[]);
    let mut child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
    let modes = || tcgetattr(&ours).unwrap().local_modes;
    let before = modes();
    until("it has the terminal", SOON, || modes() != before);
    // As Ctrl-S does. It draws, and waits for ever.
    tcflow(&ours, Action::OOff).unwrap();
    rustix::io::write(&shown, b"?").unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = until_some("it ends", SOON, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(128 + 15), "by the thread that has got the signal");
    assert_eq!(modes(), before, "what is typed is shown again");
}

#[test]
fn terminal_that_is_gone_ends_it() {
    let house = serve(&["blog"]);
    house.wait_ready("blog");
    let (shown, ours) = pty::open();
    let copy = || Stdio::from(ours.try_clone().unwrap());
    let mut command = top(&house, &[]);
    // No controlling terminal: no signal comes.
    let mut child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
    drop((command, ours));
    let mut begun = [0; 1];
    rustix::io::read(&shown, &mut begun).unwrap();
    drop(shown);
    let status = until_some("it ends", SOON, || child.try_wait().unwrap());
    assert!(!status.success());
}

#[test]
fn any_size_of_the_terminal_is_drawn() {
    let house = serve(&["blog"]);
    house.wait_ready("blog");
    let mut terminal = Terminal::sized(&top(&house, &[]), 1, 1);
    terminal.wait_for("b");
    for (columns, rows) in [(30, 8), (200, 60), (3, 2), (80, 24)] {
        terminal.resize(columns, rows);
        terminal.wait("the pool", |screen| screen.contains(&"blog"[..4.min(columns.into())]));
        // Within a pool, too.
        terminal.type_keys("\r?\x1b\x1b");
    }
    terminal.wait_for("? help");
    terminal.type_keys("q");
    assert!(terminal.exit().success());
}

#[test]
fn instance_that_reloads_ends_and_comes_back_is_followed() {
    let mut house = serve(&["blog"]);
    house.wait_ready("blog");
    let mut command = Command::new(program());
    command
        .args(["top", "--interval", "0.2", "-c"])
        .arg(house.path("wsgi-fpm.toml"))
        .env("RUNTIME_DIRECTORY", house.path(""));
    let mut terminal = Terminal::run(&command);
    terminal.wait_for(&format!("pid {}", house.pid()));
    terminal.type_keys("\r");
    terminal.wait_for("blog: serving, generation 1");
    house.reload(&[pool("blog", "env = { MARK = \"2\" }")]);
    terminal.wait_for("generation 2");
    house.stop();
    terminal.wait_for("no answer for");
    // What was known is there still, and keys do what they do.
    terminal.type_keys("\x1b");
    terminal.wait_for("POOL");
    house.start_again();
    let pid = format!("pid {}", house.pid());
    terminal.wait("the next one", |screen| {
        screen.contains(&pid) && !screen.contains("no answer")
    });
    terminal.type_keys("q");
    assert!(terminal.exit().success());
    terminal.assert_given_back();
}

#[test]
fn instance_that_hangs_holds_up_no_key() {
    let house = serve(&["blog"]);
    house.wait_ready("blog");
    let mut terminal = Terminal::run(&top(&house, &[]));
    terminal.wait_for("POOL");
    house.signal(Signal::STOP);
    terminal.wait_for("no answer for");
    terminal.type_keys("\r");
    terminal.wait_for("blog: serving");
    terminal.type_keys("t");
    terminal.wait_for("asked ");
    terminal.type_keys("\x1b");
    terminal.wait_for("THREAD");
    house.signal(Signal::CONT);
    terminal.wait("it goes on", |screen| !screen.contains("no answer"));
    terminal.type_keys("q");
    assert!(terminal.exit().success());
    terminal.assert_given_back();
}

#[test]
fn everything_stuck_is_shown_all_the_same() {
    let house = serve(&["blog"]);
    house.wait_ready("blog");
    let _sleeping: Vec<_> = (0..8).map(|_| sleep(&house, "blog", "/sleep")).collect();
    let mut terminal = Terminal::run(&top(&house, &[]));
    terminal.wait_for("blog: all 2 threads are busy, and ");
    terminal.wait_for("2/2");
    assert!(terminal.has_colours());
    terminal.type_keys("\rq");
    assert!(terminal.exit().success());
    let mut terminal = Terminal::run(top(&house, &[]).env("NO_COLOR", "1"));
    terminal.wait_for("blog: all 2 threads are busy, and ");
    assert!(!terminal.has_colours());
    terminal.type_keys("q");
    assert!(terminal.exit().success());
}

#[test]
fn picture_of_the_documentation_is_made() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/top.png");
    if std::env::var_os(UPDATE).is_none() {
        let picture = fs::read(file).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() < 100 * 1024);
        return;
    }
    assert!(installed::chromium(), "no Chromium");
    let house = House::serve(&[
        pool("blog", "workers = \"2..4\"\nthreads = 4"),
        pool("shop", "workers = 2\nthreads = 4\nslow_request = \"1s\""),
        pool("wiki", "workers = \"0..2\""),
    ]);
    ["blog", "shop"].iter().for_each(|name| house.wait_ready(name));
    let _sleeping = ["/sleep/report", "/sleep/basket"].map(|path| sleep(&house, "shop", path));
    let mut terminal = Terminal::sized(&top(&house, &[]), 92, 9);
    terminal.wait_for("have run for long");
    for turn in 0..600 {
        house.get("blog", "/");
        house.get(["blog", "shop"][turn % 2], "/orders");
        thread::sleep(Duration::from_millis(8));
    }
    let page = house.path("top.html");
    fs::write(&page, terminal.html()).unwrap();
    terminal.type_keys("q");
    let mut browser = Browser::start();
    browser.open(&format!("file://{}", page.display()));
    browser.wait_for("document.querySelector('pre') != null");
    let size = |browser: &mut Browser, of: &str| {
        let value = browser.value(&format!(
            "Math.ceil(document.querySelector('pre').getBoundingClientRect().{of})"
        ));
        value.as_u64().unwrap() as u32
    };
    browser.resize(2000, 1000);
    let (width, height) = (size(&mut browser, "width"), size(&mut browser, "height"));
    browser.resize(width, height);
    fs::write(file, browser.screenshot()).unwrap();
    house.signal(Signal::QUIT);
}
