//! FastCGI on a listening standard input (SPEC A30, A31).

use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::script::{Script, Server, finish};
use crate::support::fcgi_client::Request;
use crate::support::net::Address;
use crate::support::program::program;

#[test]
fn a30_listening_socket_means_fastcgi() {
    let script = Script::new("");
    script.fastcgi().get("/pid").ok();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    Server::start(script.command(), listener.into(), address)
        .get("/pid")
        .ok();
}

#[test]
fn process_is_shown_by_the_name_of_its_script() {
    let pid = |server: &Server| server.get("/pid").ok().text();
    let script = Script::new("");
    let server = script.fastcgi();
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid(&server))).unwrap();
    assert_eq!(line.trim_end_matches('\0'), "wsgi-fpm: app.fcgi");
}

#[test]
fn a30_listening_socket_means_fastcgi_even_among_cgi_variables() {
    let script = Script::new("");
    let path = script.file("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut command = script.command();
    command.env("REQUEST_METHOD", "GET").env("GATEWAY_INTERFACE", "CGI/1.1");
    let server = Server::start(command, listener.into(), Address::Unix(path));
    server.get("/pid").ok();
}

#[test]
fn a30_anything_else_on_standard_input_means_cgi() {
    let script = Script::new("");
    // A pipe is what every other test has.
    let (socket, _peer) = UnixStream::pair().unwrap();
    let file = std::fs::File::open(&script.path).unwrap();
    let inputs = [
        Stdio::from(std::os::fd::OwnedFd::from(socket)),
        Stdio::from(file),
        Stdio::null(),
    ];
    for input in inputs {
        let mut cgi = script.cgi("GET", "/pid");
        cgi.command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(cgi.command.spawn().unwrap()).ok();
    }
}

#[test]
fn a30_closed_output_streams_don_t_matter() {
    let script = Script::new("");
    let path = script.file("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" >&- 2>&-"])
        .arg(&script.path)
        .env_clear();
    for (name, value) in script.command().get_envs() {
        command.env(name, value.unwrap());
    }
    let server = Server::start(command, listener.into(), Address::Unix(path));
    assert_eq!(server.get("/noisy").ok().text(), "stdin=''");
    assert_eq!(server.get("/noisy").ok().text(), "stdin=''");
}

#[test]
fn a30_prints_go_to_the_log_and_children_inherit_no_listener() {
    let script = Script::new("");
    let server = script.fastcgi();
    assert_eq!(server.get("/noisy").ok().text(), "stdin=''");
    for said in [
        "printed",
        "written to descriptor 1",
        "said by a child",
        "through wsgi.errors",
    ] {
        server.log.wait_for(said, |line| line.contains(said));
    }
    assert_eq!(server.output.lines(), Vec::<String>::new());
    let descriptors = server.get("/descriptors").ok().text();
    assert!(!descriptors.contains("socket:"), "{descriptors}");
}

#[test]
fn environ_says_that_other_processes_may_serve_too() {
    let text = Script::new("threads = 1").fastcgi().get("/environ").ok().text();
    for flag in [
        "wsgi.multithread=False",
        "wsgi.multiprocess=True",
        "wsgi.run_once=False",
    ] {
        assert!(text.contains(flag), "{flag} not in {text}");
    }
    let text = Script::new("").fastcgi().get("/environ").ok().text();
    assert!(text.contains("wsgi.multithread=True"), "{text}");
}

#[test]
fn path_is_as_the_web_server_sent_it() {
    let request = Request::get("/environ").param("SCRIPT_NAME", "/app.fcgi");
    let text = Script::new("").fastcgi().send(&request).ok().text();
    assert!(
        text.contains("SCRIPT_NAME='/app.fcgi'\n") && text.contains("PATH_INFO='/environ'\n"),
        "{text}"
    );
}

#[test]
fn process_never_retires_by_itself() {
    let server = Script::new("").fastcgi();
    let pid = server.get("/pid").ok().text();
    for _ in 0..300 {
        assert_eq!(server.get("/pid").ok().text(), pid);
    }
}

#[test]
fn next_request_is_served_while_one_runs_on() {
    let script = Script::new("");
    let server = script.fastcgi();
    let mut running = server.connect();
    running.send(&Request::get("/sleep?30").bytes());
    crate::support::wait::until("the request runs", crate::support::wait::SOON, || {
        script.notes() == "asleep\n"
    });
    // The web server gives it up.
    drop(running);
    server.get("/pid").ok();
}

#[test]
fn a31_list_of_web_servers_that_is_no_list_is_a_reason_not_to_start() {
    let script = Script::new("");
    for (list, served) in [("127.0.0.1", true), ("192.0.2.7", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let mut command = script.command();
        command.env("FCGI_WEB_SERVER_ADDRS", list);
        let server = Server::start(command, listener.into(), address);
        if served {
            server.get("/pid").ok();
        } else {
            server.connect().expect_close();
        }
    }
    let listener = UnixListener::bind(script.file("socket")).unwrap();
    let mut command = script.command();
    command.env("FCGI_WEB_SERVER_ADDRS", "1.2.3");
    let server = Server::start(command, listener.into(), Address::Unix(script.file("socket")));
    assert_eq!(server.wait_exit().code(), Some(1));
    server.log.wait_for_line(&["FCGI_WEB_SERVER_ADDRS", "1.2.3"]);
}

#[test]
fn command_fastcgi_serves_what_is_no_script() {
    let script = Script::raw("shop.py", include_str!("app.py"));
    let command = |input: Stdio| {
        let mut command = Command::new(program());
        command
            .args(["fastcgi", "shop:application", "--chdir"])
            .arg(script.directory.path());
        if let Some(python) = crate::support::python::default() {
            command.arg("--python").arg(python);
        }
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let path = script.file("socket");
    let listener = UnixListener::bind(&path).unwrap();
    Server::start(command(Stdio::null()), listener.into(), Address::Unix(path))
        .get("/pid")
        .ok();
    let answer = finish(command(Stdio::null()).spawn().unwrap());
    assert_eq!(answer.status.code(), Some(2), "{answer:?}");
    assert!(
        answer.log.contains("no listening socket") && answer.log.contains("serve"),
        "{}",
        answer.log
    );
}
