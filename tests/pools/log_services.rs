//! Logs to services that keep them: syslog, by a socket of a test's and by rsyslog, and the journal's protocol.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::house::{House, directory};
use crate::logs::{line_in, server, talks, text};
use crate::support::fcgi_client::{Raw, Request};
use crate::support::log::field;
use crate::support::wait::{SOON, until, until_some};

fn messages(socket: &UnixDatagram) -> impl FnMut() -> Option<String> {
    socket.set_nonblocking(true).unwrap();
    move || {
        let mut bytes = vec![0; 1 << 18];
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
}

/// The first message with all these parts, once there is one; others are thrown away.
#[track_caller]
fn message(socket: &UnixDatagram, parts: &[&str]) -> String {
    let mut next = messages(socket);
    until_some(&format!("a message with {parts:?}"), SOON, || {
        next().filter(|message| parts.iter().all(|part| message.contains(part)))
    })
}

#[test]
fn syslog_gets_each_event_as_one_message_with_its_importance() {
    let directory = directory();
    let path = directory.path().join("dev-log");
    let daemon = UnixDatagram::bind(&path).unwrap();
    let socket = path.display();
    let house = House::serve_in(
        directory,
        &[
            server(&format!("log = \"syslog:local3,tag=apps,socket={socket}\"")),
            talks(
                "one",
                &format!("access_log = \"syslog:local0,tag=web,socket={socket}\"\naccess_format = \"combined\""),
            ),
        ],
    );
    let pid = house.pid();
    // local3 is 19, info 6.
    let ready = message(&daemon, &["ready"]);
    // The daemon knows time and importance itself.
    let begins = format!("<158>apps[{pid}]: wsgi_fpm::pool::events: ready pool=\"one\" ");
    assert!(ready.starts_with(&begins), "{ready}");
    house.get("one", "/hello");
    let access = message(&daemon, &["/hello"]);
    assert!(
        access.starts_with(&format!("<134>web[{pid}]: pool=\"one\" 192.0.2.1 - - [")),
        "{access}"
    );
    Raw::connect(&house.socket("one"))
        .unwrap()
        .exchange(&Request::get("/raises"));
    let raised = message(&daemon, &["ValueError: for the log"]);
    assert!(
        raised.starts_with(&format!("<155>apps[{pid}]: ")) && raised.contains("\n  Traceback"),
        "{raised}"
    );
}

#[test]
fn syslog_that_goes_and_comes_back_stops_nothing() {
    let directory = directory();
    let path = directory.path().join("dev-log");
    let daemon = UnixDatagram::bind(&path).unwrap();
    let house = House::serve_in(
        directory,
        &[talks(
            "one",
            &format!("access_log = \"syslog:local0,socket={}\"", path.display()),
        )],
    );
    house.wait_ready("one");
    house.get("one", "/before");
    message(&daemon, &["/before"]);
    drop(daemon);
    fs::remove_file(&path).unwrap();
    until("lines are lost", SOON, || {
        house.get("one", "/lost");
        house
            .log
            .text()
            .contains("lines can't be written and are lost until they can")
    });
    let daemon = UnixDatagram::bind(&path).unwrap();
    let mut next = messages(&daemon);
    let mut has_come = false;
    until("lines come again, and it is said how many were lost", SOON, || {
        house.get("one", "/kept");
        // It takes no more than a few at a time.
        has_come |= std::iter::from_fn(&mut next)
            .filter(|message| message.contains("/kept"))
            .count()
            > 0;
        has_come
            && house
                .log
                .text()
                .contains("lines were lost since they could not be written")
    });
}

/// The fields of a message to journald.
fn fields(message: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (mut fields, mut rest) = (Vec::new(), message);
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'=' | b'\n')).unwrap();
        let name = String::from_utf8(rest[..end].to_owned()).unwrap();
        let (length, start) = match rest[end] {
            b'=' => (rest[end..].iter().position(|byte| *byte == b'\n').unwrap() - 1, end + 1),
            _ => (
                u64::from_le_bytes(rest[end + 1..end + 9].try_into().unwrap()) as usize,
                end + 9,
            ),
        };
        fields.push((name, rest[start..start + length].to_owned()));
        assert_eq!(rest[start + length], b'\n');
        rest = &rest[start + length + 1..];
    }
    fields
}

#[test]
fn journal_gets_fields() {
    let directory = directory();
    let path = directory.path().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    journal.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let house = House::serve_in(
        directory,
        &[
            server(&format!("log = \"journald:tag=apps,socket={}\"", path.display())),
            talks("one", "access_log = true"),
        ],
    );
    let wait = |text: &str| loop {
        let mut bytes = vec![0; 1 << 18];
        let length = journal.recv(&mut bytes).unwrap();
        let fields = fields(&bytes[..length]);
        let field = |name: &str| {
            let found = fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        if field("MESSAGE").unwrap().contains(text) {
            return [
                "MESSAGE",
                "PRIORITY",
                "SYSLOG_IDENTIFIER",
                "WSGI_FPM_POOL",
                "WSGI_FPM_REQUEST",
            ]
            .map(field);
        }
    };
    wait("ready");
    Raw::connect(&house.socket("one"))
        .unwrap()
        .exchange(&Request::get("/raises"));
    let [message, priority, identifier, pool, request] = wait("ValueError: for the log");
    assert!(message.unwrap().contains("\n  Traceback (most recent call last):\n"));
    assert_eq!([priority, identifier, pool].map(Option::unwrap), ["3", "apps", "one"]);
    let [message, priority, _, pool, of_line] = wait("status=500");
    let message = message.unwrap();
    assert!(message.starts_with("access: pool=\"one\" request="), "{message}");
    assert_eq!((priority.as_deref(), pool.as_deref()), (Some("6"), Some("one")));
    assert_eq!(of_line, request, "the same request");
    assert_eq!(of_line.as_deref(), field(&message, "request"));
}

/// A real syslog daemon that listens at `dev-log` in a directory and writes to `messages` there.
struct Rsyslog(std::process::Child);

impl Rsyslog {
    fn start(directory: &Path) -> Self {
        let configuration = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{0}/dev-log\" RateLimit.Interval=\"0\")\n\
             template(name=\"plain\" type=\"string\" string=\"%syslogfacility-text%.%syslogseverity-text% %programname% %procid%:%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{0}/messages\" template=\"plain\")\n",
            directory.display()
        );
        let file = directory.join("rsyslog.conf");
        fs::write(&file, configuration).unwrap();
        let pid = directory.join("rsyslog.pid");
        let mut command = std::process::Command::new("rsyslogd");
        command.arg("-n").arg("-f").arg(file).arg("-i").arg(pid);
        Self(command.spawn().unwrap())
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn rsyslog_has_every_line_with_facility_severity_and_tag_also_after_a_restart() {
    if !crate::support::installed::rsyslog() {
        return;
    }
    let directory = directory();
    let daemon = Rsyslog::start(directory.path());
    let socket = directory.path().join("dev-log");
    until("it listens", SOON, || socket.exists());
    let access = format!("access_log = \"syslog:local0,tag=web,socket={}\"", socket.display());
    let house = House::serve_in(
        directory,
        &[
            server(&format!("log = \"syslog:local3,tag=apps,socket={}\"", socket.display())),
            talks("one", &format!("{access}\naccess_format = \"$method $path $status\"")),
        ],
    );
    let (messages, pid) = (house.path("messages"), house.pid());
    line_in(&messages, &["ready"]);
    let get = |path: &str| {
        Raw::connect(&house.socket("one"))
            .unwrap()
            .exchange(&Request::get(path))
    };
    for number in 0..200 {
        get(&format!("/numbered/{number}"));
    }
    let last = line_in(&messages, &["/numbered/199"]);
    assert_eq!(
        last,
        format!("local0.info web {pid}: pool=\"one\" GET /numbered/199 200")
    );
    assert_eq!(text(&messages).matches("/numbered/").count(), 200);
    get("/raises");
    let raised = line_in(&messages, &["ValueError: for the log"]);
    assert!(
        raised.starts_with(&format!("local3.err apps {pid}: ")) && raised.contains("#012  Traceback"),
        "{raised}"
    );
    daemon.stop();
    let again = Rsyslog::start(messages.parent().unwrap());
    until("lines come again", SOON, || {
        get("/kept");
        text(&messages).contains("/kept")
    });
    again.stop();
}
