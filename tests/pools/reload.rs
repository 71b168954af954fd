//! SIGHUP reads the file again and applies the difference, pool by pool.

use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::house::{House, directory, pool};
use crate::support::fcgi_client::{Raw, Request};

#[test]
fn address_that_another_pool_leaves_in_the_same_reload_is_waited_for_and_a_swap_is_refused() {
    let at = |name: &str, socket: &str| pool(name, "").replace(&format!("./{name}.sock"), &format!("./{socket}.sock"));
    let house = House::serve(&[pool("a", ""), pool("b", "")]);
    house.wait_ready("a");
    house.wait_ready("b");
    let serves = |socket: &str| house.who(socket, "pid");
    // Each takes that of the one before, whichever comes first; a pool that is new, too.
    house.write(&[at("a", "c"), at("b", "a"), at("d", "b")]);
    house.done(&["reload"]);
    for socket in ["a", "b", "c"] {
        serves(socket);
    }
    house.write(&[at("a", "a"), at("b", "c"), at("d", "b")]);
    let message = house.failed(&["reload"]);
    let says = |pool: &str, socket: &str, holder: &str| {
        let path = house.path(&format!("{socket}.sock"));
        let parts = [
            format!("error: {pool}: the new version failed, and the one before goes on: "),
            format!(
                "pool.{pool}.listen unix:{}: pool {holder} of this file listens there; change one of them first, then reload again",
                path.display()
            ),
        ];
        let is_it = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(message.lines().any(is_it), "{message}");
    };
    says("a", "a", "b");
    says("b", "c", "a");
    // As it is told.
    house.write(&[at("a", "e"), at("b", "c"), at("d", "b")]);
    house.done(&["reload"]);
    house.write(&[at("a", "a"), at("b", "c"), at("d", "b")]);
    house.done(&["reload"]);
    for socket in ["a", "b", "c"] {
        serves(socket);
    }
}

#[test]
fn socket_that_nobody_can_connect_to_is_named_and_a_reload_makes_it_anew_or_fails() {
    let house = House::serve(&[pool("one", ""), pool("two", "workers = \"0..1\"")]);
    for name in ["one", "two"] {
        house.wait_for(
            0,
            &[
                if name == "one" { " ready " } else { "at rest" },
                &format!("pool=\"{name}\""),
            ],
        );
        let path = house.path(&format!("{name}.sock"));
        let trouble = |what: &str| format!("{name}: nobody can connect to unix:{}: {what}", path.display());
        let worst = || house.done(&["status"]).lines().next().unwrap().to_owned();
        assert!(worst().starts_with("wsgi-fpm "), "{}", worst());
        fs::remove_file(&path).unwrap();
        assert_eq!(worst(), trouble("the socket's file is gone; a reload makes it anew"));
        fs::write(&path, "").unwrap();
        let reason = trouble("the path exists and is not a socket; remove it or name another path");
        assert_eq!(house.failed(&["reload", name]), format!("wsgi-fpm: error: {reason}\n"));
        assert_eq!(worst(), reason);
        assert!(house.status(name)["listeners"][0]["unreachable"].is_string());
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        let reason =
            trouble("another program has put its socket there; stop that one, or remove the file, then reload");
        assert_eq!(house.failed(&["reload", name]), format!("wsgi-fpm: error: {reason}\n"));
        drop(other);
        house.done(&["reload", name]);
        assert!(worst().starts_with("wsgi-fpm "), "{}", worst());
        house.get(name, "/");
    }
}

#[test]
fn only_what_has_changed_is_touched() {
    let (stays, changes) = (pool("stays", ""), pool("changes", "env = { MARK = \"old\" }"));
    let mut house = House::serve(&[stays.clone(), changes.clone(), pool("goes", "")]);
    for name in ["stays", "changes", "goes"] {
        house.wait_ready(name);
    }
    let leader = house.who("stays", "pid");
    // What stands in front of it moves the pool to other lines, which is no change.
    let mark = house.reload(&[
        "# a comment\n".to_owned(),
        changes.replace("old", "new"),
        stays,
        pool("comes", ""),
    ]);
    house.wait_for(mark, &[" ready ", "pool=\"comes\""]);
    house.wait_for(mark, &[" ready ", "pool=\"changes\""]);
    house.wait_for(mark, &["stopped", "pool=\"goes\""]);
    house.wait_who("changes", "mark", |mark| mark == "new");
    assert_eq!(house.who("stays", "pid"), leader);
    house.get("comes", "/");
    house.wait_gone("goes");
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn changed_env_file_is_a_change_of_its_pool() {
    let directory = directory();
    let secrets = directory.path().join("secrets.env");
    std::fs::write(&secrets, "MARK=old\n").unwrap();
    let pools = [pool("one", "env_file = \"secrets.env\""), pool("two", "")];
    let house = House::serve_in(directory, &pools);
    house.wait_ready("one");
    house.wait_ready("two");
    let untouched = house.who("two", "pid");
    assert_eq!(house.who("one", "mark"), "old");
    std::fs::write(&secrets, "MARK=newer\n").unwrap();
    let mark = house.reload(&pools);
    house.wait_for(mark, &[" ready ", "pool=\"one\""]);
    house.wait_who("one", "mark", |mark| mark == "newer");
    assert_eq!(house.who("two", "pid"), untouched);
}

#[test]
fn file_with_a_mistake_changes_nothing_and_says_so() {
    let house = House::serve(&[pool("one", "")]);
    house.wait_ready("one");
    let leader = house.who("one", "pid");
    let mark = house.reload(&[pool("one", "thread = 3\nworkers = \"many\""), pool("two", "")]);
    house.wait_for(
        mark,
        &["ERROR", "wsgi-fpm.toml:", "\"thread\"", "did you mean threads?"],
    );
    house.wait_for(mark, &["ERROR", "pool.one.workers"]);
    house.wait_for(mark, &["ERROR", "changes nothing"]);
    assert_eq!(house.who("one", "pid"), leader);
    assert!(!house.path("two.sock").exists());
    // Mended, it counts.
    let mark = house.reload(&[pool("one", ""), pool("two", "")]);
    house.wait_for(mark, &[" ready ", "pool=\"two\""]);
    assert_eq!(house.who("one", "pid"), leader);
}

#[test]
fn sigusr2_loads_every_application_anew() {
    let pools = [pool("one", ""), pool("two", "")];
    let house = House::serve(&pools);
    let leaders = ["one", "two"].map(|name| {
        house.wait_ready(name);
        house.who(name, "pid")
    });
    let mark = house.log.mark();
    house.signal(Signal::USR2);
    for (name, leader) in ["one", "two"].into_iter().zip(leaders) {
        house.wait_for(mark, &[" ready ", &format!("pool=\"{name}\"")]);
        house.wait_who(name, "pid", |pid| pid != leader);
    }
}

#[test]
fn change_that_can_not_start_leaves_the_old_version_serving() {
    let house = House::serve(&[pool("one", "env = { MARK = \"old\" }")]);
    house.wait_ready("one");
    let broken = pool("one", "").replace("who:application", "no_such_module:application");
    let mark = house.reload(&[broken.replace("one.sock", "other.sock")]);
    house.wait_for(mark, &["ERROR", "no_such_module"]);
    house.wait_for(mark, &["the previous generation goes on"]);
    assert_eq!(house.who("one", "mark"), "old");
    assert!(!house.path("other.sock").exists());
}

#[test]
fn listeners_are_kept_where_the_address_is_the_same() {
    let house = House::serve(&[pool("one", "")]);
    house.wait_ready("one");
    let more = pool("one", "env = { MARK = \"new\" }").replace("\"./one.sock\"", "[\"./one.sock\", \"./two.sock\"]");
    // It waits in the old socket, and is answered by the new generation or the old one.
    let mut waiting = Raw::connect(&house.socket("one")).unwrap();
    let mark = house.reload(&[more]);
    house.wait_for(mark, &[" ready ", "pool=\"one\""]);
    waiting.exchange(&Request::get("/")).ok();
    house.wait_who("one", "mark", |mark| mark == "new");
    let second = Raw::connect(&house.socket("two"))
        .unwrap()
        .exchange(&Request::get("/"))
        .ok();
    assert!(second.text().contains("mark=new"));
}

#[test]
fn no_request_fails_while_pools_are_changed_added_removed_and_left_alone() {
    let pools = |mark: u32, extra: bool| {
        let mut pools = vec![
            pool("stays", ""),
            pool("changes", &format!("env = {{ MARK = \"{mark}\" }}")),
        ];
        if extra {
            pools.push(pool("comes", ""));
        }
        pools
    };
    let house = House::serve(&pools(0, false));
    house.wait_ready("stays");
    house.wait_ready("changes");
    let (over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for name in ["stays", "changes"] {
            for keeps in [false, true] {
                let (house, over, answered) = (&house, &over, &answered);
                scope.spawn(move || {
                    let request = match keeps {
                        true => Request::get("/").keep_conn(),
                        false => Request::get("/"),
                    };
                    let mut kept = Raw::connect(&house.socket(name)).unwrap();
                    while !over.load(Ordering::Relaxed) {
                        if !keeps {
                            kept = Raw::connect(&house.socket(name)).unwrap();
                        }
                        let response = kept.exchange(&request);
                        assert_eq!(
                            response.code(),
                            200,
                            "{name}, kept: {keeps}: {response:?}\n{}",
                            house.log.text()
                        );
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        for round in 1..=5 {
            let mark = house.reload(&pools(round, round % 2 == 1));
            house.wait_for(mark, &[" ready ", "pool=\"changes\""]);
            if round % 2 == 1 {
                house.wait_for(mark, &[" ready ", "pool=\"comes\""]);
                house.get("comes", "/");
            } else {
                house.wait_for(mark, &["stopped", "pool=\"comes\""]);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) > 100);
    house.wait_who("changes", "mark", |mark| mark == "5");
}

#[test]
fn pool_that_leaves_finishes_its_requests_unless_the_program_is_told_to_hurry() {
    let mut house = House::serve(&[pool("stays", ""), pool("goes", "stop_timeout = 0")]);
    house.wait_ready("goes");
    house.wait_ready("stays");
    let mut slow = Raw::connect(&house.socket("goes")).unwrap();
    slow.send(&Request::get("/sleep").bytes());
    // Its thread has the request when another one is answered behind it.
    house.get("goes", "/");
    let mark = house.reload(&[pool("stays", "")]);
    house.wait_for(mark, &["stopping", "pool=\"goes\""]);
    house.get("stays", "/");
    assert!(!slow.readable_within(Duration::from_millis(300)));
    house.signal(Signal::INT);
    slow.expect_close();
    assert_eq!(house.exit().code(), Some(0));
}

#[test]
fn touched_file_loads_the_pools_anew_that_name_it() {
    let directory = directory();
    let touched = directory.path().join("deployed");
    let house = House::serve_in(directory, &[pool("one", "reload_on = [\"deployed\"]"), pool("two", "")]);
    let [one, two] = ["one", "two"].map(|name| {
        house.wait_ready(name);
        house.who(name, "pid")
    });
    let mut before = one;
    // The file that was not there, and the file that is.
    for _ in 0..2 {
        let mark = house.log.mark();
        std::fs::write(&touched, "").unwrap();
        house.wait_for(mark, &["reloading", "pool=\"one\"", "deployed has changed"]);
        house.wait_who("one", "pid", |pid| pid != before);
        before = house.who("one", "pid");
    }
    assert_eq!(house.who("two", "pid"), two);
}

#[test]
fn directory_of_a_watched_file_that_is_replaced_or_removed_costs_lines_of_ours_alone() {
    let directory = directory();
    let [release, next] = ["release", "next"].map(|name| directory.path().join(name));
    std::fs::create_dir(&release).unwrap();
    std::fs::create_dir(&next).unwrap();
    std::fs::write(release.join("deployed"), "").unwrap();
    std::fs::write(next.join("deployed"), "next").unwrap();
    let house = House::serve_in(
        directory,
        &[pool("one", "reload_on = [\"release/deployed\", \"release\"]")],
    );
    house.wait_ready("one");
    // A watch of the new one.
    let mark = house.log.mark();
    std::fs::remove_dir_all(&release).unwrap();
    std::fs::rename(&next, &release).unwrap();
    house.wait_for(mark, &["reloading", "has changed"]);
    house.wait_for(mark, &[" ready "]);
    let mark = house.log.mark();
    std::fs::remove_dir_all(&release).unwrap();
    house.wait_for(
        mark,
        &["WARN", "this directory does not exist: ", "reload_on", "release"],
    );
    house.wait_for(mark, &[" ready "]);
    let log = house.log.text();
    assert!(!log.contains("No path was found") && !log.contains("notify"), "{log}");
    assert!(!log.to_lowercase().contains("unable to remove"), "{log}");
}

#[test]
fn what_can_not_be_watched_is_said_and_stops_nobody() {
    let house = House::serve(&[pool("one", "reload_on = [\"/no/such/directory/file\"]")]);
    house.wait_ready("one");
    house.wait_for(0, &["WARN", "/no/such/directory", "reload_on"]);
}
