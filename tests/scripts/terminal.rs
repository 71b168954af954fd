//! Started by hand on a terminal: SPEC D9.

use std::fs::File;
use std::io::Read;
use std::process::{Command, ExitStatus};
use std::thread;

use crate::script::{Script, wait_exit};
use crate::support::program::program;
use crate::support::pty;

/// Runs a command with a terminal for its three streams; its end, and what it has written there.
#[track_caller]
fn on_a_terminal(mut command: Command) -> (ExitStatus, String) {
    let (terminal, ours) = pty::open();
    let copy = || ours.try_clone().unwrap();
    command.stdin(copy()).stdout(copy()).stderr(copy());
    let mut child = command.spawn().unwrap();
    // The command holds its side of the terminal, too.
    drop((command, ours));
    let screen = thread::spawn(move || {
        let mut text = Vec::new();
        // Ends with an error when nobody has the other side open any more.
        let _ = File::from(terminal).read_to_end(&mut text);
        text
    });
    let status = wait_exit(&mut child);
    (status, String::from_utf8_lossy(&screen.join().unwrap()).into_owned())
}

#[test]
fn d9_command_cgi_without_variables_says_what_to_use() {
    let script = Script::raw("shop.py", include_str!("app.py"));
    let mut command = Command::new(program());
    command
        .env_clear()
        .args(["cgi", "shop:application", "--chdir"])
        .arg(script.directory.path());
    let (status, screen) = on_a_terminal(command);
    assert_eq!(status.code(), Some(2), "{screen}");
    for part in ["REQUEST_METHOD", "a web server starts this command", "use dev"] {
        assert!(screen.contains(part), "{part} in {screen}");
    }
    assert!(!screen.contains("Status:"), "no CGI response: {screen}");
}

#[test]
fn d9_script_without_variables_says_what_to_type() {
    let script = Script::new("");
    let (status, screen) = on_a_terminal(script.command());
    assert_eq!(status.code(), Some(2), "{screen}");
    assert!(
        screen.contains("wsgi-fpm dev ") && screen.contains("wsgi-fpm serve "),
        "{screen}"
    );
    assert!(!screen.contains("Status:"), "{screen}");
}
