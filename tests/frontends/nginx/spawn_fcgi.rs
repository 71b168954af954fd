//! What only spawn-fcgi has: the one process that it becomes, and those that it leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::scripts::script;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::installed;
use crate::support::net::Address;
use crate::support::spawn_fcgi::Spawned;
use crate::support::tied::Tied;
use crate::support::units::expect_systemd_to_accept;
use crate::support::wait::{SOON, until, until_some};
use crate::support::web_server::{path, write};

fn process(address: &Address) -> String {
    Raw::connect(address)
        .unwrap()
        .exchange(&Request::get("/process"))
        .ok()
        .text()
}

/// SPEC A32. systemd stops it so.
#[test]
fn sigterm_lets_the_running_request_finish() {
    if !installed::spawn_fcgi() {
        return;
    }
    let start = |directory: &TempDir| {
        let path = directory.path().join("app.fcgi");
        write(&path, script("plain", "").as_bytes(), 0o755);
        ["spawn-fcgi", "-n", "%SOCKET%", "--", path.to_str().unwrap()]
            .map(str::to_owned)
            .to_vec()
    };
    let spawned = Spawned::start(start, false);
    let pid = process(&spawned.address);
    let mark = spawned.directory.path().join("mark");
    let mut connection = Raw::connect(&spawned.address).unwrap();
    connection.send(&Request::get(&format!("/slow?seconds=0.5&mark={}", mark.display())).bytes());
    until("the request runs", SOON, || {
        fs::read_to_string(&mark).is_ok_and(|text| text == pid)
    });
    kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(connection.read_response(1).ok().text(), "slow");
    until("the process is gone", SOON, || !Path::new("/proc").join(&pid).exists());
}

/// Of a script, by default.
const THREADS: usize = 4;

/// Ends what the file of pids names, with the shell.
const UNTIL_TOLD: &str = r#"
pids=$1; shift
trap 'kill $(cat "$pids"); exit' TERM
"$@"
while :; do sleep 60 & wait $!; done
"#;

/// docs/nginx.md says so, and why the unit has -n.
#[test]
fn processes_of_the_option_f_share_the_socket_and_say_nothing() {
    if !installed::spawn_fcgi() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-spawn-fcgi-").unwrap();
    let [app, pids, socket] = ["app.fcgi", "pids", "socket"].map(|name| directory.path().join(name));
    write(&app, script("plain", "").as_bytes(), 0o755);
    let mut command = Command::new("sh");
    command
        .env("PATH", path())
        .args(["-c", UNTIL_TOLD, "until-told"])
        .arg(&pids);
    command
        .args(["spawn-fcgi", "-F", "3", "-P"])
        .arg(&pids)
        .arg("-s")
        .arg(&socket)
        .arg("--")
        .arg(&app);
    let spawned = Tied::spawn_in(&command, "TERM", directory.path());
    let address = Address::Unix(socket);
    let started = || -> BTreeSet<String> {
        let text = fs::read_to_string(&pids).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    until("three processes are there", SOON, || started().len() == 3);
    // One that is idle may take everything: they serve when others are busy.
    let gate = directory.path().join("gate");
    let called = directory.path().join("gate.called");
    let mut busy = Vec::new();
    let mut serving = BTreeSet::new();
    until("each of them serves", SOON, || {
        if busy.len() < 3 * THREADS - 1 {
            let mut connection = Raw::connect(&address).unwrap();
            connection.send(&Request::get(&format!("/gated?gate={}", gate.display())).bytes());
            let taken_by = || fs::read_to_string(&called).ok().filter(|pid| !pid.is_empty());
            serving.insert(until_some("it is taken", SOON, taken_by));
            fs::remove_file(&called).unwrap();
            busy.push(connection);
        }
        serving.insert(process(&address));
        serving == started()
    });
    write(&gate, b"", 0o644);
    for mut connection in busy {
        connection.read_response(1).ok();
    }
    Raw::connect(&address)
        .unwrap()
        .exchange(&Request::get("/speaks?what=lost"))
        .ok();
    assert!(!spawned.log.text().contains("lost"), "{}", spawned.log.text());
}

#[test]
fn systemd_accepts_the_unit() {
    expect_systemd_to_accept(&[("deploy/systemd/spawn-fcgi.service", "example.service")]);
}
