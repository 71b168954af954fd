//! What `ps` shows of each process.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::process::{Builder, Gateway};
use crate::support::python;
use crate::support::wait::{SOON, until_some};

fn blog() -> Builder {
    Gateway::app("titles")
        .option("--name", "blog")
        .variable("MARK", "left alone")
}

/// The pid as a number.
fn number(pid: Pid) -> String {
    pid.as_raw_nonzero().to_string()
}

/// What stands in `/proc/PID/cmdline`, and whether everything behind it is NUL.
fn title(pid: Pid) -> Option<String> {
    let line = std::fs::read(format!("/proc/{}/cmdline", number(pid))).ok()?;
    let title: Vec<u8> = line.iter().copied().take_while(|&byte| byte != 0).collect();
    assert!(line[title.len()..].iter().all(|&byte| byte == 0), "{line:?}");
    String::from_utf8(title).ok()
}

#[track_caller]
fn expect_titles(gateway: &Gateway, expected: &[&str]) {
    until_some(&format!("{expected:?}"), SOON, || {
        let mut titles: Vec<_> = gateway.processes().into_iter().filter_map(title).collect();
        titles.sort();
        (titles == expected).then_some(())
    });
}

const TITLES: [&str; 4] = [
    "wsgi-fpm: pool blog, leader",
    "wsgi-fpm: pool blog, worker 1",
    "wsgi-fpm: pool blog, worker 2",
    "wsgi-fpm: supervisor (blog)",
];

#[test]
fn processes_are_shown_by_their_part_in_the_pool_under_every_python_however_it_is_hosted() {
    for python in python::available() {
        for hosting in ["exec", "as it likes"] {
            println!("{python:?} {hosting}");
            let mut builder = blog().python(&python.path).workers(2);
            if hosting == "exec" {
                builder = builder.variable("WSGI_FPM_HOSTING", "exec");
            }
            let gateway = builder.start();
            expect_titles(&gateway, &TITLES);
            let seen: Value = serde_json::from_slice(gateway.get("/arguments").ok().body()).unwrap();
            assert_eq!(seen["argv"], json!(["wsgi-fpm"]));
            assert_eq!(seen["marked"], json!(["left alone", "left alone"]));
            // As Python has read them: itself, -c, the bootstrap, the engine: its file, or its number if it is within the program.
            if let Some(original) = seen["orig_argv"].as_array() {
                assert_eq!(original[1], "-c");
                let engine = original[3].as_str().unwrap();
                assert!(engine.ends_with(".so") || engine.parse::<u32>().is_ok(), "{seen:#}");
            }
            let version = Command::new(seen["executable"].as_str().unwrap())
                .arg("-V")
                .output()
                .unwrap();
            assert!(version.status.success(), "{seen:#}");
        }
    }
}

#[test]
fn replaced_worker_has_the_number_of_the_one_that_died() {
    let gateway = blog().workers(2).start();
    let is_second = |pid: &Pid| title(*pid).as_deref() == Some(TITLES[2]);
    let second = || gateway.processes().into_iter().find(is_second);
    let old = until_some("the second worker", SOON, second);
    kill_process(old, Signal::KILL).unwrap();
    until_some("another second worker", SOON, || second().filter(|pid| *pid != old));
    expect_titles(&gateway, &TITLES);
}

#[test]
fn forked_child_keeps_the_title_and_a_started_program_has_its_own_command_line() {
    let gateway = blog().start();
    let seen: Value = serde_json::from_slice(gateway.get("/children").ok().body()).unwrap();
    assert_eq!(seen["forked"], TITLES[1]);
    assert!(seen["started"].as_str().unwrap().contains(" -c import sys"), "{seen:#}");
}

#[test]
fn ps_shows_the_title_and_nothing_behind_it() {
    let gateway = blog().start();
    let supervisor = number(gateway.pid());
    let output = Command::new("ps")
        .args(["-o", "args=", "-p", &supervisor])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), TITLES[3]);
}
