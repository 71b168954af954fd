//! The control socket: which instance a command finds, who may ask, what is answered to nonsense, and what becomes of the socket.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::run::{Running, Stage, program, refusal};
use crate::support::wait::{SOON, until, until_some};

/// A command that looks for instances below `stage` alone.
fn command(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments).env("RUNTIME_DIRECTORY", stage.path(""));
    command
}

fn run(stage: &Stage, arguments: &[&str]) -> Output {
    command(stage, arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn control(stage: &Stage, running: &Running) -> PathBuf {
    stage.path(&format!("{}.control", running.pid()))
}

/// What is answered to these bytes.
fn ask(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // It may have been refused before everything is written.
    let _ = stream.write_all(bytes);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn ready(stage: &Stage, more: &[&str]) -> Running {
    let running = Running::spawn(stage.serve(more));
    running.line(" ready ");
    running
}

#[test]
fn status_finds_the_instance_and_shows_its_pool() {
    let stage = Stage::new();
    let running = ready(&stage, &["--name=blog"]);
    let path = control(&stage, &running);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    let control = path.to_str().unwrap();
    for arguments in [
        &["status", "--control", control] as &[&str],
        &["status", "--control", control, "blog"],
    ] {
        let text = text(&run(&stage, arguments));
        let first = format!("wsgi-fpm {}, pid {}, up ", env!("CARGO_PKG_VERSION"), running.pid());
        assert!(text.starts_with(&first), "{text}");
        assert!(text.lines().any(|line| line.starts_with("blog  serving ")), "{text}");
        assert!(
            text.lines()
                .all(|line| line.chars().count() <= 80 || line.contains('/')),
            "{text}"
        );
        assert_eq!(text.contains("listens      unix:"), arguments.len() == 4, "{text}");
    }
    let json = text(&run(&stage, &["status", "--json", "--control", control]));
    assert_eq!(json.lines().count(), 1);
    let snapshot: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(snapshot["instance"]["pid"], running.pid());
    assert_eq!(snapshot["pools"][0]["state"], "serving");
    let message = refusal_of(&run(&stage, &["status", "--control", control, "shop"]), 1);
    assert_eq!(message, "there is no pool \"shop\"; there are: blog");
}

#[track_caller]
fn refusal_of(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let message = text.trim_end().strip_prefix("wsgi-fpm: error: ");
    message.unwrap_or_else(|| panic!("no error message: {text}")).to_owned()
}

#[test]
fn file_names_the_instance_and_several_are_listed() {
    let stages = [Stage::new(), Stage::new(), Stage::new()];
    // All instances put their sockets into one directory.
    let home = &stages[0];
    let serve = |stage: &Stage, name: &str| {
        let mut command = stage.serve(&["--name", name]);
        command.env("RUNTIME_DIRECTORY", home.path(""));
        let running = Running::spawn(command);
        running.line(" ready ");
        running
    };
    let one = serve(&stages[0], "one");
    let only = run(home, &["status"]);
    // Instances of the machine that runs the tests are no business of these.
    if only.status.success() {
        assert!(text(&only).contains("\none "), "{only:?}");
    }
    let two = serve(&stages[1], "two");
    let message = refusal_of(&run(home, &["status"]), 2);
    for running in [&one, &two] {
        let listed = format!(
            "--control {}  pid {}, app:application",
            control(home, running).display(),
            running.pid()
        );
        assert!(message.contains(&listed), "{message}");
    }
    assert!(
        message
            .lines()
            .next()
            .unwrap()
            .contains("instances of wsgi-fpm run; say which with --control:"),
        "{message}"
    );
    let file = stages[2].path("wsgi-fpm.toml");
    let file_named = file.to_str().unwrap();
    let python = stages[2].python();
    fs::write(
        &file,
        format!(
            "[pool.three]\napp = \"app:application\"\nuser = \"root\"\nlisten = \"./three.sock\"\npython = {python:?}\n"
        ),
    )
    .unwrap();
    let serve_file = |directory: &Path| {
        let mut serve = program();
        serve
            .current_dir(stages[2].path(""))
            .args(["serve", "-c", "wsgi-fpm.toml"]);
        serve
            .env("RUNTIME_DIRECTORY", directory)
            .env("WSGI_FPM_ENGINE", stages[2].path("behaviour"));
        let running = Running::spawn(serve);
        running.line(" ready ");
        running
    };
    let three = serve_file(&home.path(""));
    // Others that say nothing hold nobody up.
    one.signal(Signal::STOP);
    let asked = Instant::now();
    let found = text(&run(home, &["status", "-c", file_named]));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    one.signal(Signal::CONT);
    assert!(found.contains(&format!("pid {}", three.pid())), "{found}");
    let message = refusal_of(&run(home, &["status", "-c", "/no/such.toml"]), 2);
    assert!(
        message.starts_with("no wsgi-fpm runs that serves /no/such.toml; there are:\n"),
        "{message}"
    );
    assert!(
        message.contains(&format!("pid {}, {}", three.pid(), file.display())),
        "{message}"
    );
    // It is served once more, by one that did not see the other: they look for each other in different directories.
    fs::write(
        &file,
        fs::read_to_string(&file).unwrap().replace("three.sock", "four.sock"),
    )
    .unwrap();
    let four = serve_file(&stages[2].path(""));
    std::os::unix::fs::symlink(control(&stages[2], &four), control(home, &four)).unwrap();
    let message = until_some("both have answered in time", SOON, || {
        let output = run(home, &["status", "-c", file_named]);
        (output.status.code() == Some(2)).then(|| refusal_of(&output, 2))
    });
    for running in [&three, &four] {
        let listed = format!(
            "--control {}  pid {}, ",
            control(home, running).display(),
            running.pid()
        );
        assert!(message.contains(&listed), "{message}");
    }
}

#[test]
fn instance_is_found_by_the_socket_that_its_file_names_and_it_is_said_if_the_file_hides_it() {
    let stage = Stage::new();
    let file = stage.path("wsgi-fpm.toml");
    let named = file.to_str().unwrap();
    let write = |control: &str, more: &str| {
        let python = stage.python();
        let pool = format!(
            "[pool.a]\napp = \"app:application\"\nuser = \"root\"\nlisten = \"./a.sock\"\npython = {python:?}\n"
        );
        fs::write(&file, format!("[server]\ncontrol = \"./{control}\"\n{pool}{more}")).unwrap();
    };
    write("one.control", "");
    let mut serve = program();
    serve
        .args(["serve", "-c", named])
        .env("WSGI_FPM_ENGINE", stage.path("behaviour"));
    let running = Running::spawn(serve);
    running.line(" ready ");
    // Where others look for theirs is another directory.
    let elsewhere = Stage::new();
    let status = || run(&elsewhere, &["status", "-c", named]);
    assert!(text(&status()).contains(&format!("pid {}", running.pid())));
    write("one.control", "no_such_option = 1\n");
    assert!(text(&status()).contains(&format!("pid {}", running.pid())));
    write("one.control", "garbage = [\n");
    let message = refusal_of(&status(), 2);
    assert!(
        message.contains("mend them, or name the socket with --control") && message.contains("wsgi-fpm.toml:8"),
        "{message}"
    );
    write("two.control", "");
    let message = refusal_of(&status(), 2);
    let two = format!(
        "nobody who does answers at {}, its control",
        stage.path("two.control").display()
    );
    assert!(message.contains(&two), "{message}");
}

#[test]
fn socket_that_leads_to_nobody_is_explained() {
    let stage = Stage::new();
    let message = |path: &Path| refusal(&run(&stage, &["status", "--control", path.to_str().unwrap()]), 2);
    let path = stage.path("x.control");
    assert!(message(&path).contains("there is no such socket: the instance has ended, or has another one"));
    drop(UnixListener::bind(&path).unwrap());
    assert!(message(&path).ends_with("the wsgi-fpm that made this socket does not run any more"));
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    assert!(message(&path).ends_with("this is no control socket of wsgi-fpm"));
}

#[test]
fn instance_whose_process_is_stopped_is_not_waited_for_for_ever() {
    let stage = Stage::new();
    let running = ready(&stage, &[]);
    running.signal(Signal::STOP);
    let began = Instant::now();
    let output = run(
        &stage,
        &["status", "--control", control(&stage, &running).to_str().unwrap()],
    );
    running.signal(Signal::CONT);
    let message = refusal_of(&output, 1);
    assert!(
        message.contains("has not answered within 10 s: is its process stopped?"),
        "{message}"
    );
    assert!(began.elapsed() >= Duration::from_secs(10));
}

#[test]
fn socket_of_a_killed_instance_goes_when_the_next_one_starts_and_others_stay() {
    let stage = Stage::new();
    let mut first = ready(&stage, &[]);
    first.signal(Signal::KILL);
    first.exit();
    let left = control(&stage, &first);
    assert!(left.exists());
    // Nobody's number, and somebody listens: in a container, say.
    let elsewhere = stage.path("2147483647.control");
    let _listening = UnixListener::bind(&elsewhere).unwrap();
    let precious = stage.path("2147483646.control");
    fs::write(&precious, "precious").unwrap();
    let mut second = ready(&stage, &[]);
    assert!(!left.exists());
    assert!(elsewhere.exists() && precious.exists());
    second.signal(Signal::TERM);
    second.exit();
    assert!(!control(&stage, &second).exists());
}

#[test]
fn control_says_where_it_is_and_off_that_there_is_none() {
    let stage = Stage::new();
    let path = stage.path("steer");
    let mut running = ready(&stage, &["--control", path.to_str().unwrap()]);
    assert!(path.metadata().unwrap().file_type().is_socket());
    assert!(!control(&stage, &running).exists());
    text(&run(&stage, &["status", "--control", path.to_str().unwrap()]));
    // Another one can't have it, and serves all the same.
    let other = Stage::new();
    let second = ready(&other, &["--control", path.to_str().unwrap()]);
    let line = second.line("there is no control socket");
    assert!(line.contains("WARN") && line.contains(path.to_str().unwrap()), "{line}");
    running.signal(Signal::TERM);
    running.exit();
    assert!(!path.exists());
    let none = ready(&stage, &["--control=off"]);
    assert!(!control(&stage, &none).exists());
}

#[test]
fn directory_that_others_may_write_to_has_no_control_socket() {
    let stage = Stage::new();
    fs::set_permissions(stage.path(""), Permissions::from_mode(0o777)).unwrap();
    let running = ready(&stage, &[]);
    let line = running.line("there is no control socket");
    assert!(line.contains("others may write to") && line.contains("0777"), "{line}");
}

#[test]
fn control_socket_stays_over_an_upgrade() {
    let stage = Stage::new();
    let mut running = ready(&stage, &[]);
    let path = control(&stage, &running);
    let before = path.metadata().unwrap().ino();
    // It waits in the socket while the program is exchanged, be it so.
    let mark = running.signal(Signal::USR2);
    running.line_after(mark, " ready ");
    assert_eq!(path.metadata().unwrap().ino(), before);
    text(&run(&stage, &["status", "--control", path.to_str().unwrap()]));
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn nonsense_is_answered_and_costs_nobody_else_anything() {
    let stage = Stage::new();
    let running = ready(&stage, &[]);
    let path = control(&stage, &running);
    let error = |bytes: &[u8]| {
        let answer = ask(&path, bytes);
        let value: serde_json::Value =
            serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        value["end"]["error"].as_str().unwrap().to_owned()
    };
    assert!(error(b"status\n").starts_with("this is no question to wsgi-fpm"));
    assert!(error(b"\xff\xfe\n").starts_with("this is no question to wsgi-fpm"));
    assert!(error(b"{\"v\":2,\"do\":\"status\"}\n").contains("speaks version 1 of the control protocol"));
    assert!(error(b"{\"v\":1,\"do\":\"dance\"}\n").contains("does not understand \"dance\""));
    // The command line would not have let it through.
    for (least, most) in [(5u32, 2u32), (0, 0), (1, 1025), (1, 3_000_000_000)] {
        let line = format!("{{\"v\":1,\"do\":\"scale\",\"pool\":\"app\",\"least\":{least},\"most\":{most}}}\n");
        let said = error(line.as_bytes());
        assert!(said.starts_with(&format!("{least}..{most} workers: ")), "{said}");
    }
    let longest = |length: usize| {
        let line = "{\"v\":1,\"do\":\"status\",\"x\":\"\"}\n";
        line.replace("\"\"", &format!("\"{}\"", "x".repeat(length - line.len())))
    };
    assert_eq!(longest(65536).len(), 65536);
    assert!(ask(&path, longest(65536).as_bytes()).starts_with("{\"snapshot\":"));
    for length in [65537, 1_000_000] {
        assert_eq!(error(longest(length).as_bytes()), "a line has at most 65536 bytes");
    }
    // Without an end of its own a line ends with the connection.
    let mut silent = UnixStream::connect(&path).unwrap();
    silent.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    silent.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("this is no question"), "{answer}");
}

#[test]
fn clients_that_say_nothing_are_at_most_64_and_go_after_ten_seconds() {
    let stage = Stage::new();
    let running = ready(&stage, &[]);
    let path = control(&stage, &running);
    let began = Instant::now();
    let mut silent: Vec<_> = (0..64).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let question = b"{\"v\":1,\"do\":\"status\"}\n";
    let answer = ask(&path, question);
    assert!(answer.contains("64 commands are being answered; try again"), "{answer}");
    let mut answer = String::new();
    silent[63].read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "{\"end\":{\"error\":\"nothing was asked within 10 s\"}}\n");
    assert!(began.elapsed() > Duration::from_secs(9));
    until("there is room again", SOON, || {
        ask(&path, question).contains("\"ok\":true")
    });
}

/// Other users exist for root alone.
#[test]
fn other_users_are_told_whose_it_is() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let stage = Stage::new();
    fs::set_permissions(stage.path(""), Permissions::from_mode(0o755)).unwrap();
    let program_of_all = stage.path("wsgi-fpm");
    fs::copy(crate::support::program::program(), &program_of_all).unwrap();
    let running = ready(&stage, &[]);
    let path = control(&stage, &running);
    let other = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program_of_all);
        command
            .args(arguments)
            .env("RUNTIME_DIRECTORY", stage.path(""))
            .env_remove("XDG_RUNTIME_DIR");
        refusal(&command.output().unwrap(), 2)
    };
    let control = path.to_str().unwrap();
    let message = other(&["status", "--control", control]);
    let expected = format!(
        "{control}: it is root's, and only that user and root may steer it; type: sudo wsgi-fpm status --control {control}"
    );
    assert_eq!(message, expected);
    // Somebody has opened it for all: the kernel says who asks.
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program_of_all);
    let output = command.args(["status", "--control", control]).output().unwrap();
    assert_eq!(
        refusal_of(&output, 1),
        "only the user of the instance and root may steer it"
    );
}
