//! `wsgi-fpm stop POOL` while requests run: what else may be wanted of the pool meanwhile, and what is said of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::house::{House, pool};
use crate::status::{address, server};
use crate::support::fcgi_client::{Raw, Request as Fcgi};
use crate::support::http::{Client, Request, Response};
use crate::support::wait::{SOON, until, until_some};

/// Two pools, of which `one` runs a request until [`Stopping::finish`], and is being stopped.
struct Stopping {
    house: House,
    status: SocketAddr,
    request: Raw,
    /// The worker that runs it.
    worker: u64,
    /// The command.
    stop: Option<Child>,
}

impl Stopping {
    fn begin() -> Self {
        let mut stopping = Self::before();
        let mut command = stopping.house.command(&["stop", "one"]);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        stopping.stop = Some(command.spawn().unwrap());
        stopping.wait_state("one", "stopping");
        stopping
    }

    /// Nobody stops it yet.
    fn before() -> Self {
        let house = House::serve(&[server("127.0.0.1:0", ""), pool("one", ""), pool("two", "")]);
        house.wait_ready("one");
        house.wait_ready("two");
        let mut request = Raw::connect(&house.socket("one")).unwrap();
        request.send(&Fcgi::get(&format!("/until?{}", house.path("go").display())).bytes());
        let worker = until_some("it runs", SOON, || {
            let status = house.status("one");
            let worker = &status["workers"][0];
            let mut threads = worker["threads"].as_array()?.iter();
            let runs = threads.any(|thread| thread["request"]["line"] == "GET /until");
            runs.then(|| worker["pid"].as_u64().unwrap())
        });
        Self {
            status: address(&house),
            house,
            request,
            worker,
            stop: None,
        }
    }

    fn wait_state(&self, pool: &str, state: &str) {
        until(&format!("{pool} is {state}"), SOON, || {
            self.house.status(pool)["state"] == state
        });
    }

    fn ask(&self, path: &str) -> Response {
        Client::connect(self.status).exchange(&Request::get(path))
    }

    /// What each pool is said to be, and the pids of its workers.
    fn pools(&self) -> Vec<(String, String, Vec<u64>)> {
        let all = self.ask("/status.json").ok().json();
        let pools = all["pools"].as_array().unwrap().iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        pools
            .map(|pool| {
                let workers = pool["workers"].as_array().unwrap().iter();
                let workers = workers.map(|worker| worker["pid"].as_u64().unwrap()).collect();
                (text(&pool["name"]), text(&pool["state"]), workers)
            })
            .collect()
    }

    /// Both serve, and what was begun before is one's still.
    fn check_that_one_is_there_once(&self) {
        let pools = self.pools();
        let names: Vec<_> = pools
            .iter()
            .map(|(name, state, _)| (name.as_str(), state.as_str()))
            .collect();
        assert_eq!(names, [("one", "serving"), ("two", "serving")]);
        assert!(pools[0].2.contains(&self.worker) && pools[0].2.len() == 2, "{pools:?}");
        let metrics = self.ask("/metrics").ok().text();
        let is_it = |line: &&str| line.starts_with("wsgi_fpm_generation{pool=\"one\"}");
        assert_eq!(metrics.lines().filter(is_it).count(), 1, "{metrics}");
        assert_eq!(self.ask("/ping/one").ok().text(), "pong\n");
        let worker = self.worker.to_string();
        let stacks = self.house.done(&["stacks", "one", &worker]);
        assert!(stacks.contains("GET /until"), "{stacks}");
    }

    fn finish(&mut self) {
        fs::write(self.house.path("go"), "").unwrap();
        assert_eq!(self.request.read_response(1).ok().text(), "gone");
    }

    /// What the command comes to.
    fn stopped(&mut self) -> (Option<i32>, String, String) {
        let mut stop = self.stop.take().unwrap();
        let status = until_some("the command ends", SOON, || stop.try_wait().unwrap());
        let output = stop.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        if let Some(stop) = &mut self.stop {
            let _ = stop.kill();
            let _ = stop.wait();
        }
    }
}

#[test]
fn pool_that_stops_is_started_anew_by_a_reload_and_nothing_else_is_done_with_it() {
    let mut stopping = Stopping::begin();
    for arguments in [&["recycle", "one"] as &[&str], &["scale", "one", "2"]] {
        assert_eq!(
            stopping.house.failed(arguments),
            "wsgi-fpm: error: one stops; wsgi-fpm reload one starts it anew\n"
        );
    }
    assert_eq!(stopping.house.done(&["reload", "one"]), "one: serves\n");
    stopping.house.get("one", "/");
    stopping.check_that_one_is_there_once();
    stopping.finish();
    let stopped = (Some(0), "one stops\none: has ended\n".to_owned(), String::new());
    assert_eq!(stopping.stopped(), stopped);
    until("its worker is gone", SOON, || {
        !stopping.pools()[0].2.contains(&stopping.worker)
    });
    stopping.house.get("one", "/");
}

#[test]
fn pool_that_stops_is_started_anew_by_a_reload_of_all() {
    let mut stopping = Stopping::begin();
    let text = stopping.house.done(&["reload"]);
    assert!(
        text.contains("one: serves\n") && text.contains("two: serves\n"),
        "{text}"
    );
    stopping.house.get("one", "/");
    // Once more, while the first one runs still.
    assert_eq!(stopping.house.done(&["stop", "one"]), "one stops\none: has ended\n");
    stopping.wait_state("one", "stopping");
    assert_eq!(stopping.house.done(&["reload", "one"]), "one: serves\n");
    stopping.finish();
    assert_eq!(stopping.stopped().0, Some(0));
    stopping.house.get("one", "/");
}

#[test]
fn reload_whose_pool_is_stopped_meanwhile_has_failed() {
    let house = House::serve(&[pool("one", ""), pool("two", "")]);
    house.wait_ready("one");
    house.wait_ready("two");
    let hangs = "import time\ntime.sleep(600)\n";
    fs::write(house.path("who.py"), hangs).unwrap();
    let mut command = house.command(&["reload", "one"]);
    let reload = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it is under way", SOON, || house.status("one")["reloading"] == true);
    house.done(&["stop", "one"]);
    let output = reload.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("wsgi-fpm: error: one: failed: it has ended before that was done: it was stopped"),
        "{message}"
    );
    assert_eq!(house.status("one")["state"], "stopped");
}

#[test]
fn stop_of_a_pool_says_that_an_upgrade_has_started_it_anew() {
    let mut stopping = Stopping::begin();
    stopping.house.done(&["upgrade"]);
    let (code, _, message) = stopping.stopped();
    assert_eq!(
        (code, message.as_str()),
        (
            Some(1),
            "wsgi-fpm: error: the instance was upgraded before one had ended, and serves on; type it again\n"
        )
    );
    stopping.house.get("one", "/");
    stopping.check_that_one_is_there_once();
    stopping.finish();
    assert_eq!(stopping.house.done(&["stop", "one"]), "one stops\none: has ended\n");
}

#[test]
fn ping_is_content_while_somebody_stops_a_pool_and_not_while_everything_stops() {
    let stopping = Stopping::begin();
    assert_eq!(stopping.ask("/ping").ok().text(), "pong\n");
    assert_eq!(stopping.ask("/ping/one").status, 503);
    stopping.house.signal(Signal::TERM);
    // Nobody takes it for a defect that the other one has nothing to finish.
    stopping.wait_state("two", "stopped");
    let answer = stopping.ask("/ping");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (503, "not serving: one, two\n")
    );
}

#[test]
fn clients_that_have_hung_up_leave_their_places_to_others() {
    let mut stopping = Stopping::before();
    let ask = || {
        let mut client = BufReader::new(UnixStream::connect(stopping.house.control()).unwrap());
        client.get_ref().set_read_timeout(Some(SOON)).unwrap();
        let line = b"{\"v\":1,\"do\":\"stop\",\"pool\":\"one\",\"now\":false}\n";
        client.get_mut().write_all(line).unwrap();
        let mut begun = String::new();
        client.read_line(&mut begun).unwrap();
        assert_eq!(begun, "{\"begun\":\"one stops\"}\n");
        client
    };
    // It has said everything, and hears still.
    let mut listens = ask();
    listens.get_ref().shutdown(Shutdown::Write).unwrap();
    let clients: Vec<_> = (1..64).map(|_| ask()).collect();
    let message = stopping.house.failed(&["status"]);
    assert!(message.contains("64 commands are being answered"), "{message}");
    drop(clients);
    until("others are answered", SOON, || {
        stopping.house.run(&["status"]).status.success()
    });
    stopping.finish();
    let mut rest = String::new();
    listens.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains("\"state\":\"stopped\"") && rest.ends_with("{\"end\":{\"ok\":true}}\n"),
        "{rest}"
    );
}
