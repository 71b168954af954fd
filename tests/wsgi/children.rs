//! Children that an application forks: they have nothing of ours, and what we end is over although they live.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::fcgi_client::Request;
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until_ended};

static APPS: Shared = Shared::new(|| Gateway::app("children"));

/// Ends with the value.
struct Child(Pid);

impl Child {
    fn of(gateway: &Gateway, target: &str) -> Self {
        Self::named(&gateway.get(target).ok().text())
    }

    fn named(pid: &str) -> Self {
        Self(Pid::from_raw(pid.parse().unwrap()).unwrap())
    }

    fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Child {
    fn ends(&self) {
        until_ended(self.0.as_raw_nonzero(), SOON);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be gone.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn response_on_a_connection_that_is_not_kept_ends_although_a_child_lives() {
    for target in ["/lingers", "/lingers_by_c"] {
        let mut connection = APPS.connect();
        let response = connection.exchange(&Request::get(target)).ok();
        connection.expect_close();
        let child = Child::named(&response.text());
        assert!(child.lives(), "{target}");
    }
}

#[test]
fn executor_that_is_made_in_a_request_delays_no_response() {
    for _ in 0..4 {
        let mut connection = APPS.connect();
        assert_eq!(connection.exchange(&Request::get("/executes")).ok().text(), "285");
        connection.expect_close();
    }
}

#[test]
fn child_has_no_socket_no_epoll_and_no_signal_handler_of_ours() {
    let gateway = Gateway::app("children").workers(2).start();
    let mut kept = gateway.connect();
    kept.exchange(&Request::get("/hello").keep_conn()).ok();
    let found: serde_json::Value = serde_json::from_str(&gateway.get("/found").ok().text()).unwrap();
    let handlers = found["handlers"].as_array().unwrap();
    assert!(handlers[0].as_str().unwrap().contains("default_int_handler"), "{found}");
    let defaults = handlers[1..]
        .iter()
        .all(|handler| handler == "Handlers.SIG_DFL" || handler == "0");
    assert!(defaults, "{found}");
    let nothing = serde_json::json!([]);
    assert_eq!(
        (&found["descriptors"], &found["caught"]),
        (&nothing, &nothing),
        "{found}"
    );
    assert_eq!(found["blocked"], 0, "{found}");
    // Its parent still has all of it.
    kept.exchange(&Request::get("/hello").keep_conn()).ok();
    gateway.get("/hello").ok();
}

#[test]
fn handler_of_the_application_works_in_its_children() {
    assert_eq!(APPS.get("/keeps_own_handler").ok().text(), "7");
}

#[test]
fn pools_in_many_requests_at_a_time_all_end() {
    let gateway = Gateway::app("children").threads(6).start();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..7 {
                    assert_eq!(gateway.get("/pool").ok().text(), "285");
                }
            });
        }
    });
}

#[test]
fn process_terminate_ends_a_child_even_before_it_runs() {
    assert_eq!(APPS.get("/terminates?50").ok().text(), "{-15}");
}

#[test]
fn other_start_methods_of_multiprocessing_work() {
    // By a gateway of their own: the server that forks stays.
    for method in ["spawn", "forkserver"] {
        let gateway = Gateway::app("children").start();
        assert_eq!(
            gateway.get(&format!("/started_otherwise?{method}")).ok().text(),
            "285",
            "{method}"
        );
    }
}

#[test]
fn child_that_comes_back_ends_as_python_would() {
    let mut kept = APPS.connect();
    for (way, code) in [
        ("raises", "1"),
        ("exits", "5"),
        ("returns", "0"),
        ("reads", "0"),
        ("writes", "0"),
        ("speaks", "1"),
    ] {
        let request = Request::get(&format!("/comes_back?{way}")).keep_conn();
        assert_eq!(kept.exchange(&request).ok().text(), code, "{way}");
    }
    for line in [
        "RuntimeError: in the child",
        "the child prints",
        "the child complains",
        "the child's last words",
    ] {
        APPS.log.wait_for_line(&[line]);
    }
}

#[test]
fn client_of_a_killed_worker_knows_at_once_and_idle_ones_are_served_although_its_children_live() {
    let gateway = Gateway::app("children").start();
    let _child = Child::of(&gateway, "/lingers?session");
    let mut kept = gateway.connect();
    kept.exchange(&Request::get("/hello").keep_conn()).ok();
    let mut running = gateway.connect();
    running.send(&Request::get("/kill").bytes());
    let start = Instant::now();
    running.expect_close();
    kept.exchange(&Request::get("/hello").keep_conn()).ok();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn next_start_gets_the_address_although_a_child_of_the_last_one_lives() {
    let gateway = Gateway::app("children").tcp("127.0.0.1").start();
    let child = Child::of(&gateway, "/lingers?session");
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(SOON).success());
    assert!(child.lives(), "it has left the group");
    assert!(!gateway.address.answers(), "nobody listens");
    let listen = gateway.address.option();
    let next = Gateway::app("children").option("--listen", listen).start();
    next.get("/hello").ok();
}

#[test]
fn next_start_gets_the_socket_after_a_killed_supervisor_although_a_child_lives() {
    let gateway = Gateway::app("children").start();
    let child = Child::of(&gateway, "/lingers?session");
    gateway.signal(Signal::KILL);
    gateway.wait_exit(SOON);
    gateway.wait_for_nobody(SOON);
    assert!(child.lives(), "it has left the group");
    let listen = gateway.address.option();
    let next = Gateway::app("children").option("--listen", listen).start();
    next.get("/hello").ok();
}

#[test]
fn dead_workers_children_die_with_it_unless_they_have_left_its_group() {
    let gateway = Gateway::app("children").start();
    let stays = Child::of(&gateway, "/lingers");
    let leaves = Child::of(&gateway, "/lingers?session");
    let mut running = gateway.connect();
    running.send(&Request::get("/kill").bytes());
    running.expect_close();
    stays.ends();
    assert!(leaves.lives());
}

#[test]
fn workers_children_end_with_it_at_a_stop_and_at_a_reload() {
    let gateway = Gateway::app("children").start();
    let first = Child::of(&gateway, "/lingers");
    gateway.signal(Signal::HUP);
    first.ends();
    let second = Child::of(&gateway, "/lingers");
    gateway.signal(Signal::TERM);
    second.ends();
    assert!(gateway.wait_exit(SOON).success());
}

/// The first leader, of which it turns out that the application can't be shared, has started one, too.
#[test]
fn what_an_import_has_started_ends_with_its_process() {
    let helpers = tempfile::NamedTempFile::new().unwrap();
    let app = Gateway::app("starts_at_import");
    let gateway = app.variable("HELPERS", helpers.path()).start();
    let number = |pid: &str| pid.parse::<i32>().unwrap();
    let all = || {
        let pids = std::fs::read_to_string(helpers.path()).unwrap();
        pids.lines().map(number).collect::<Vec<_>>()
    };
    for signal in [Signal::HUP, Signal::HUP, Signal::TERM] {
        let now = number(&gateway.get("/").ok().text());
        let others: Vec<_> = all().into_iter().filter(|other| *other != now).collect();
        assert!(!others.is_empty());
        others.into_iter().for_each(|other| until_ended(other, SOON));
        gateway.signal(signal);
        until_ended(now, SOON);
    }
    assert!(gateway.wait_exit(SOON).success());
    all().into_iter().for_each(|helper| until_ended(helper, SOON));
}

#[test]
fn workers_children_end_with_a_killed_leader_or_supervisor() {
    for kill_leader in [true, false] {
        let gateway = Gateway::app("children").start();
        let child = Child::of(&gateway, "/lingers");
        if kill_leader {
            let leader = gateway.get("/leader").ok().text();
            kill_process(Child::named(&leader).0, Signal::KILL).unwrap();
        } else {
            gateway.signal(Signal::KILL);
        }
        child.ends();
    }
}

#[test]
fn process_that_a_web_server_starts_leaves_children_alone_and_they_it() {
    let gateway = Gateway::app("children").on_stdin().start();
    let mut connection = gateway.connect();
    let response = connection.exchange(&Request::get("/lingers")).ok();
    connection.expect_close();
    let child = Child::named(&response.text());
    assert_eq!(gateway.get("/terminates?5").ok().text(), "{-15}");
    assert_eq!(gateway.get("/pool").ok().text(), "285");
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(SOON).success());
    assert!(child.lives(), "its web server says what becomes of it");
    assert!(!gateway.address.answers(), "nobody listens");
}
