//! What a pool says of itself through the web server (`status_path`, `ping_path`), as php-fpm does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::house::{House, pool};
use crate::support::apache::Apache;
use crate::support::fcgi_client::{Raw, Request as Fcgi, Response};
use crate::support::http::{Client, Request, fetch};
use crate::support::installed;
use crate::support::net::Address;
use crate::support::nginx::{Nginx, upstream};
use crate::support::php_fpm::PhpFpm;
use crate::support::wait::{SOON, until, until_some};
use crate::support::web_server::shipped;

const PATHS: &str = "status_path = \"/fpm-status\"\nping_path = \"/fpm-ping\"";

/// The words of a query that ask for one of the forms.
const FORMS: [&str; 5] = ["", "json", "xml", "html", "openmetrics"];
/// What php-fpm says of a process and we don't know of a thread.
const UNKNOWN: [&str; 5] = [
    "content length",
    "user",
    "script",
    "last request cpu",
    "last request memory",
];

fn ask(address: &Address, path: &str, query: &str) -> Response {
    let request = Fcgi::get("/")
        .param("SCRIPT_NAME", path)
        .param("SCRIPT_FILENAME", path)
        .without("PATH_INFO")
        .param("QUERY_STRING", query);
    // php-fpm says nothing of a status that is 200.
    Raw::connect(address).unwrap().exchange(&request)
}

fn status(house: &House, query: &str) -> Value {
    let answer = ask(&house.socket("one"), "/fpm-status", query);
    serde_json::from_slice(answer.body()).unwrap()
}

/// What a line of the text says.
#[track_caller]
fn value(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).trim().to_owned()
}

/// Sends an application that sleeps these requests, each on a connection of its own.
fn send(house: &House, path: &str, number: usize) -> Vec<Raw> {
    let requests = (0..number).map(|_| {
        let mut connection = Raw::connect(&house.socket("one")).unwrap();
        connection.send(&Fcgi::get(path).bytes());
        connection
    });
    requests.collect()
}

#[test]
fn pool_tells_of_itself_at_its_own_paths_as_php_fpm_does() {
    let house = House::serve(&[pool("one", PATHS), pool("two", "")]);
    house.wait_ready("one");
    house.wait_ready("two");
    house.get("one", "/");
    assert_eq!(house.get("one", "/fpm-ping").text(), "pong");
    let text = house.get("one", "/fpm-status").text();
    assert!(
        text.starts_with("pool:                 one\nprocess manager:      static\n"),
        "{text}"
    );
    assert_eq!(
        (
            value(&text, "accepted conn"),
            value(&text, "active processes"),
            value(&text, "total processes")
        ),
        ("1".into(), "0".into(), "2".into())
    );
    // However the web server divides the path.
    for (script, info) in [("/fpm-status", ""), ("", "/fpm-status"), ("/fpm-status", "/fpm-status")] {
        let request = Fcgi::get("/")
            .param("SCRIPT_NAME", script)
            .param("PATH_INFO", info)
            .param("QUERY_STRING", "json&full");
        let answer = Raw::connect(&house.socket("one")).unwrap().exchange(&request).ok();
        assert_eq!(
            answer.header("Content-Type").as_deref(),
            Some("application/json; charset=utf-8")
        );
        let status: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(
            (&status["pool"], &status["processes"][0]["state"]),
            (&"one".into(), &"Idle".into())
        );
    }
    // What only ends so is the application's, and so is everything where no path is named.
    for (pool, script, info) in [
        ("one", "/app", "/fpm-status"),
        ("two", "", "/fpm-status"),
        ("one", "", "/fpm-status/x"),
    ] {
        let request = Fcgi::get("/").param("SCRIPT_NAME", script).param("PATH_INFO", info);
        let answer = Raw::connect(&house.socket(pool)).unwrap().exchange(&request).ok();
        assert!(answer.text().contains("pid="), "{}", answer.text());
    }
}

#[test]
fn pool_tells_of_itself_while_every_thread_of_every_worker_is_stuck() {
    let lines = "status_path = \"/fpm-status\"\nworkers = 2\nthreads = 1\nrequest_timeout = 0";
    let house = House::serve(&[pool("one", lines)]);
    house.wait_ready("one");
    // One on a connection that is kept, and a new one for each further request.
    let mut kept = Raw::connect(&house.socket("one")).unwrap();
    kept.exchange(&Fcgi::get("/").keep_conn()).ok();
    let _stuck = [(); 2].map(|()| {
        let mut connection = Raw::connect(&house.socket("one")).unwrap();
        connection.send(&Fcgi::get("/sleep").bytes());
        connection
    });
    let mut waits = Raw::connect(&house.socket("one")).unwrap();
    waits.send(&Fcgi::get("/").bytes());
    let busy = || {
        let text = house.get("one", "/fpm-status").text();
        text.contains("active processes:     2\n")
    };
    until("both are busy", SOON, busy);
    let asked = Instant::now();
    let full = Fcgi::get("/fpm-status?full").param("QUERY_STRING", "full").keep_conn();
    let text = kept.exchange(&full).ok().text();
    assert!(text.matches("request URI:          /sleep\n").count() == 2, "{text}");
    assert!(asked.elapsed() < SOON / 2, "{:?}", asked.elapsed());
    assert!(
        !waits.readable_within(Duration::from_millis(300)),
        "it is the application's"
    );
    house.signal(Signal::QUIT);
}

/// What stands in front of the values of a page, in its order.
fn names(page: &str, form: &str) -> Vec<String> {
    let name = |line: &str| -> Option<String> {
        let (before, after) = match form {
            "" | "json" => ("", ":"),
            "xml" => ("<", ">"),
            "html" => ("<tr><th>", "</th><td>"),
            _ => ("# TYPE ", "\n"),
        };
        let line = format!("{line}\n");
        let (name, _) = line.strip_prefix(before)?.split_once(after)?;
        (!name.starts_with('/')).then(|| name.trim_matches('"').to_owned())
    };
    let page = match form {
        "json" => page.trim().trim_matches(['{', '}']).replace(',', "\n"),
        _ => page.to_owned(),
    };
    page.lines().filter_map(name).collect()
}

#[test]
fn forms_and_names_are_those_of_php_fpm() {
    if !installed::php_fpm() {
        return;
    }
    let php = PhpFpm::start();
    let php = Address::Unix(PathBuf::from(php.address()));
    let house = House::serve(&[pool("one", PATHS)]);
    house.wait_ready("one");
    until("the kernel was asked", SOON, || {
        status(&house, "json").get("listen queue").is_some()
    });
    for form in FORMS {
        let [theirs, ours] = [
            ask(&php, "/status", form),
            ask(&house.socket("one"), "/fpm-status", form),
        ];
        let kind = |answer: &Response| {
            let kind = answer.header("Content-Type").unwrap();
            kind.split("; charset").next().unwrap().replace(";charset=UTF-8", "")
        };
        assert_eq!(kind(&ours), kind(&theirs), "{form}");
        let [theirs, ours] = [&theirs, &ours].map(|answer| names(&answer.text(), form));
        assert!(theirs.len() >= 11, "{theirs:?}");
        // What is ours alone stands behind it.
        assert_eq!(ours[..theirs.len().min(ours.len())], theirs, "{form}");
    }
    let processes = |address: &Address, path: &str| -> Vec<String> {
        let text = ask(address, path, "full").text();
        let (_, process) = text.split_once("****\n").unwrap();
        let lines = process.lines().take_while(|line| !line.is_empty());
        lines.map(|line| line.split(':').next().unwrap().to_owned()).collect()
    };
    let theirs = processes(&php, "/status");
    let known = |name: &String| !UNKNOWN.contains(&name.as_str());
    let theirs: Vec<_> = theirs.into_iter().filter(known).collect();
    assert_eq!(processes(&house.socket("one"), "/fpm-status"), theirs);
}

#[test]
fn what_waited_and_ran_at_most_is_told() {
    let lines = format!("{PATHS}\nworkers = \"1..2\"\nthreads = 1\nrequest_timeout = 0");
    let house = House::serve(&[pool("one", &lines)]);
    house.wait_ready("one");
    let idle = status(&house, "json");
    assert_eq!(
        (&idle["process manager"], &idle["active processes"]),
        (&"dynamic".into(), &0.into())
    );
    let stuck = send(&house, "/sleep", 5);
    // The kernel is asked once a second.
    let told = until_some("as many wait as were not taken", SOON, || {
        let told = status(&house, "json");
        (told["active processes"] == 2 && told["listen queue"] == 3).then_some(told)
    });
    assert_eq!(told["max active processes"], 2);
    assert!(told["max listen queue"].as_u64().unwrap() >= 3, "{told}");
    assert_eq!(told["listen queue len"], 1024.min(somaxconn()));
    until("it was seen that there may be no more", SOON, || {
        status(&house, "json")["max children reached"] == 1
    });
    drop(stuck);
    house.signal(Signal::QUIT);
}

fn somaxconn() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    text.trim().parse().unwrap()
}

#[test]
fn answer_that_is_longer_than_the_kernel_takes_at_once_arrives_whole() {
    let house = House::serve(&[pool("one", &format!("{PATHS}\nthreads = 1000"))]);
    house.wait_ready("one");
    let mut slow = Raw::connect(&house.socket("one")).unwrap();
    slow.send(&Fcgi::get("/fpm-status?xml&full").bytes());
    let mut before = 0;
    until("nothing more arrives", SOON, || {
        std::thread::sleep(Duration::from_millis(50));
        let now = slow.unread();
        now > 0 && std::mem::replace(&mut before, now) == now
    });
    let page = slow.read_response(1).ok().text();
    assert!(before < page.len() as u64, "{before} of {}", page.len());
    assert_eq!(page.matches("<process>").count(), 1000);
    assert!(page.ends_with("</status>\n"));
}

/// Asks at the paths of a web server that has the shipped snippet.
fn told_through(address: SocketAddr, house: &House) {
    let get = |path: &str| fetch(address, &Request::get(path).host("one.test"));
    assert_eq!(get("/fpm-ping").ok().text(), "pong");
    let text = get("/fpm-status").ok();
    assert_eq!(text.header("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(value(&text.text(), "pool"), "one");
    let full = get("/fpm-status?json&full").ok().json();
    assert_eq!(full["processes"][0]["state"], "Idle");
    for path in ["/", "/fpm-status/", "/fpm-statuses", "/x/fpm-ping"] {
        assert!(get(path).ok().text().starts_with("pid="), "{path}");
    }
    let elsewhere = "127.0.0.2".parse().unwrap();
    let get_there =
        |path: &str| Client::connect_from(elsewhere, address).exchange(&Request::get(path).host("one.test"));
    for path in ["/fpm-status", "/fpm-ping", "/fpm-status?full"] {
        get_there(path).expect(403);
    }
    get_there("/").ok();
    // Neither is asked while all are stuck, nor later.
    let stuck = send(house, "/sleep", 2);
    until("both threads are busy", SOON, || {
        get("/fpm-status?json").ok().json()["active processes"] == 2
    });
    let asked = Instant::now();
    let full = get("/fpm-status?json&full").ok().json();
    let uris: BTreeSet<_> = full["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|thread| thread["request uri"].as_str())
        .collect();
    assert_eq!(uris, BTreeSet::from([Some("/sleep")]));
    assert_eq!(get("/fpm-ping").ok().text(), "pong");
    assert!(asked.elapsed() < SOON / 2, "{:?}", asked.elapsed());
    drop(stuck);
    house.signal(Signal::QUIT);
}

#[test]
fn nginx_with_the_shipped_snippet_shows_it_to_this_machine_alone() {
    if !installed::nginx() {
        return;
    }
    let house = House::serve(&[pool("one", &format!("{PATHS}\nrequest_timeout = 0"))]);
    house.wait_ready("one");
    let upstream = upstream(&house.socket("one"));
    let snippet = shipped("nginx/status.conf", &[("unix:/run/wsgi-fpm/example.sock", &upstream)]);
    let site = format!("{snippet}\nlocation / {{ include wsgi_fpm_params; fastcgi_pass {upstream}; }}");
    let nginx = Nginx::configure().server(0, "one.test", &site).start();
    told_through(nginx.address(), &house);
    // nginx says so of each that it does not let in.
    let errors = nginx.errors();
    assert!(
        errors.iter().all(|line| line.contains("access forbidden by rule")),
        "{errors:?}"
    );
}

#[test]
fn apache_with_the_shipped_snippet_shows_it_to_this_machine_alone() {
    if !installed::apache("proxy_fcgi") {
        return;
    }
    let house = House::serve(&[pool("one", &format!("{PATHS}\nrequest_timeout = 0"))]);
    house.wait_ready("one");
    let socket = house.path("one.sock").display().to_string();
    let replacements = [("/run/wsgi-fpm/example.sock", socket.as_str())];
    let apache = Apache::configure()
        .ports(1)
        .module("env")
        .module("proxy")
        .module("proxy_fcgi")
        .site_in_nothing(
            "apache/proxy-fcgi.conf",
            "one.test",
            &shipped("apache/status.conf", &[]),
            &replacements,
        )
        .start();
    told_through(apache.address(), &house);
}
