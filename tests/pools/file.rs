//! Pools start, fail and stop each by itself.

use crate::house::{House, pool};
use crate::support::fcgi_client::{Raw, Request};
use crate::support::python;
use crate::support::wait::{SOON, until};

#[test]
fn pools_have_each_their_own_python_and_environment() {
    let pythons = python::available();
    let pools: Vec<_> = pythons
        .iter()
        .enumerate()
        .map(|(i, python)| {
            let lines = format!("python = \"{}\"\nenv = {{ MARK = \"m{i}\" }}", python.path.display());
            pool(&format!("p{i}"), &lines)
        })
        .collect();
    let mut house = House::serve(&pools);
    for (i, python) in pythons.iter().enumerate() {
        let name = format!("p{i}");
        house.wait_ready(&name);
        let (major, minor) = python.version;
        assert_eq!(house.who(&name, "python"), format!("{major}.{minor}"));
        assert_eq!(house.who(&name, "mark"), format!("m{i}"));
    }
    assert_eq!(house.stop().code(), Some(0));
    for i in 0..pythons.len() {
        house.wait_gone(&format!("p{i}"));
    }
}

#[test]
fn pool_that_can_not_start_leaves_the_others_alone_and_starts_when_it_can() {
    let house = House::serve(&[
        pool("good", ""),
        pool("broken", "").replace("who:application", "no_such_module:application"),
        pool("nowhere", "").replace("chdir = \".\"", "chdir = \"later\""),
        pool("taken", "").replace("taken.sock", "file"),
    ]);
    house.wait_ready("good");
    house.wait_for(0, &["ERROR", "pool=\"broken\"", "no_such_module"]);
    house.wait_for(
        0,
        &["ERROR", "pool=\"nowhere\"", "wsgi-fpm.toml:", "pool.nowhere.chdir"],
    );
    house.wait_ready("taken");
    // Nobody waits for an answer that will never come.
    let refused = || {
        Raw::connect(&house.socket("broken"))
            .unwrap()
            .exchange(&Request::get("/"))
    };
    until("it is refused", SOON, || refused().code() == 503);
    house.get("good", "/");
    let later = house.path("later");
    std::fs::create_dir(&later).unwrap();
    std::fs::copy(house.path("who.py"), later.join("who.py")).unwrap();
    house.wait_ready("nowhere");
    house.get("nowhere", "/");
}

#[test]
fn log_lines_say_of_which_pool_they_are() {
    let house = House::serve(&[
        pool("loud", "").replace("who:application", "loud:application"),
        pool("quiet", ""),
    ]);
    house.wait_ready("loud");
    house.get("loud", "/");
    house.wait_for(0, &["app:", "pool=\"loud\"", "printed by a request"]);
    house.wait_for(0, &["app:", "pool=\"loud\"", "written to wsgi.errors"]);
}

#[test]
fn pool_whose_worker_dies_again_and_again_leaves_the_others_untouched() {
    let house = House::serve(&[
        pool("dies", "").replace("who:application", "dies:application"),
        pool("lives", ""),
    ]);
    house.wait_ready("dies");
    house.wait_ready("lives");
    let before = house.who("lives", "pid");
    for _ in 0..5 {
        let mut connection = crate::support::fcgi_client::Raw::connect(&house.socket("dies")).unwrap();
        connection.send(&crate::support::fcgi_client::Request::get("/").bytes());
        connection.expect_close();
        house.get("lives", "/");
    }
    assert_eq!(house.who("lives", "pid"), before);
}
