//! A second `wsgi-fpm serve` for a file that is served already.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use crate::house::{DEFAULTS, House, directory, pool};
use crate::support::program::program;
use crate::support::wait::{SOON, until, until_some};

/// As somebody types it.
fn serve(house: &House, log: &str) -> Child {
    let mut command = Command::new(program());
    command.args(["serve", "-c"]).arg(house.path("wsgi-fpm.toml"));
    command.env("RUNTIME_DIRECTORY", house.path(""));
    let stderr = fs::File::create(house.path(log)).unwrap();
    command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
}

/// That ends by itself, soon.
#[track_caller]
fn refused(house: &House) -> String {
    let begun = Instant::now();
    let mut second = serve(house, "second");
    let status = until_some("the second one ends", SOON, || second.try_wait().unwrap());
    assert_eq!(status.code(), Some(1), "after {:?}", begun.elapsed());
    fs::read_to_string(house.path("second")).unwrap()
}

/// With the log in a file, and this further line for the server.
fn write(house: &House, line: &str, pools: &[String]) {
    let log = house.path("log");
    let server = format!("[server]\nlog = {:?}\n{line}\n", log.to_str().unwrap());
    fs::write(
        house.path("wsgi-fpm.toml"),
        format!("{server}{DEFAULTS}\n{}", pools.join("\n")),
    )
    .unwrap();
}

fn end(mut child: Child) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM);
    until_some("it ends", SOON, || child.try_wait().unwrap());
}

fn status(house: &House, control: &str) -> Output {
    let mut command = Command::new(program());
    command.args(["status", "--control"]).arg(house.path(control));
    command.output().unwrap()
}

#[test]
fn second_instance_for_a_file_is_refused_at_once_and_the_first_goes_on() {
    let mut house = House::serve(&[pool("one", "")]);
    house.wait_ready("one");
    // The log is a file for the second one: what it says stands on standard error all the same.
    write(&house, "", &[pool("one", "")]);
    let file = house.path("wsgi-fpm.toml").display().to_string();
    assert_eq!(
        refused(&house),
        format!(
            "wsgi-fpm: error: another instance serves this file (pid {}): wsgi-fpm reload -c {file} has it read the file again, \
             wsgi-fpm stop -c {file} ends it\n",
            house.pid()
        )
    );
    assert!(!house.path("log").exists());
    house.get("one", "/");
    house.done(&["status"]);
    // One that was killed stands in nobody's way, with all that it has left behind.
    let control = house.control();
    house.signal(Signal::KILL);
    house.exit();
    assert!(control.exists());
    house.write(&[pool("one", "")]);
    house.start_again();
    house.wait_ready("one");
    assert!(house.stop().success());
}

#[test]
fn instance_with_a_named_control_socket_is_known_by_it() {
    let house = House::serve_in(
        directory(),
        &["[server]\ncontrol = \"./a.control\"".to_owned(), pool("one", "")],
    );
    house.wait_ready("one");
    assert!(refused(&house).contains(&format!("(pid {})", house.pid())));
    write(&house, "control = \"./a.control\"", &[pool("two", "")]);
    // A stranger is in its place: that is a warning, and the socket is taken when it is free.
    house.signal(Signal::KILL);
    until("it is gone", SOON, || !status(&house, "a.control").status.success());
    fs::remove_file(house.path("a.control")).unwrap();
    let stranger = UnixListener::bind(house.path("a.control")).unwrap();
    let second = serve(&house, "second");
    let said = || fs::read_to_string(house.path("second")).unwrap();
    until("it is said", SOON, || said().contains("it is tried again"));
    assert!(
        said().starts_with("wsgi-fpm: warning: there is no control socket"),
        "{}",
        said()
    );
    drop(stranger);
    until("it has the socket", SOON, || {
        status(&house, "a.control").status.success()
    });
    end(second);
    assert!(!house.path("a.control").exists());
}

#[test]
fn instance_without_a_control_socket_is_known_by_its_sockets() {
    let server = "[server]\ncontrol = \"off\"".to_owned();
    let mut house = House::serve_in(directory(), &[server, pool("one", "")]);
    house.wait_ready("one");
    write(&house, "control = \"off\"", &[pool("one", "")]);
    let second = serve(&house, "second");
    let said = || fs::read_to_string(house.path("second")).unwrap();
    until("it is said", SOON, || {
        said().contains("another program answers at the sockets of all pools, perhaps another instance")
    });
    assert!(said().contains(house.path("log").to_str().unwrap()), "{}", said());
    house.get("one", "/");
    assert!(house.stop().success());
    until("the second one serves", SOON * 3, || {
        fs::read_to_string(house.path("log")).unwrap().contains(" ready ")
    });
    end(second);
}
