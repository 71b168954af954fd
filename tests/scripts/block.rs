//! The options in a script, whoever runs it.

use std::process::{Command, Stdio};

use crate::script::{Script, finish, path_with_program};
use crate::support::process::Gateway;
use crate::support::program::program;
use crate::support::python;

#[test]
fn environment_and_working_directory_are_as_the_block_says() {
    let script = Script::new("chdir = \"below\"\nenv = { GREETING = \"hello there\" }");
    std::fs::create_dir(script.file("below")).unwrap();
    assert_eq!(script.get("/variable?GREETING").ok(), "hello there");
}

#[test]
fn script_imports_from_its_own_directory() {
    let script = Script::named("app.cgi", "", "from site_app import application\n");
    std::fs::write(script.file("site_app.py"), include_str!("app.py")).unwrap();
    script.get("/pid").ok();
}

#[test]
fn interpreter_line_in_a_virtual_environment_chooses_its_python() {
    let python = python::default().unwrap_or_else(|| python::available().remove(0).path);
    let script = Script::new("");
    let venv = script.file("venv");
    assert!(python::make_venv(&python, &venv));
    let link = venv.join("bin/wsgi-fpm");
    std::os::unix::fs::symlink(program(), &link).unwrap();
    let text = format!("#!{}\n{}", link.display(), include_str!("app.py"));
    std::fs::write(&script.path, text).unwrap();
    assert_eq!(script.get("/prefix").ok(), venv.display().to_string());
}

#[test]
fn serve_reads_the_block_and_the_command_line_comes_first() {
    let script = Script::new("threads = 3\nenv = { GREETING = \"from the block\" }\nmount = \"/blog\"");
    let name = script.path.file_name().unwrap().to_string_lossy().into_owned();
    let gateway = Gateway::app(&name)
        .chdir(script.directory.path())
        .option("--mount", "/shop")
        .start();
    let response = gateway.get("/shop/variable?GREETING").ok();
    assert_eq!(response.text(), "from the block");
    assert_eq!(gateway.get("/blog/pid").code(), 404);
    // The tests' gateway names its threads itself.
    gateway.log.wait_for_line(&["ready", "threads=4"]);
}

#[test]
fn mount_on_the_command_line_comes_before_a_script_that_is_stripped() {
    let script = Script::new("strip_script = true");
    let gateway = Gateway::app(&script.path.to_string_lossy())
        .option("--mount", "/shop")
        .start();
    gateway.get("/shop/pid").ok();
    assert_eq!(gateway.get("/pid").code(), 404);
}

#[test]
fn serve_needs_no_second_file() {
    let script = Script::new("");
    let text = std::fs::read_to_string(&script.path).unwrap();
    let block = format!(
        "# listen = \"{}\"\n# workers = 1\n# ///",
        script.file("s.sock").display()
    );
    std::fs::write(&script.path, text.replacen("# ///\n", &format!("{block}\n"), 1)).unwrap();
    let mut child = Command::new(program())
        .arg("serve")
        .arg(&script.path)
        .env("PATH", path_with_program())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = crate::support::log::Log::collect(child.stderr.take().unwrap());
    log.wait_for_line(&["ready", "s.sock"]);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(crate::script::wait_exit(&mut child).code(), Some(0));
}

#[test]
fn serve_names_what_is_wrong_in_the_block() {
    let script = Script::new("thread = 3");
    let child = Command::new(program())
        .args(["serve", "--listen", "/nowhere/x.sock"])
        .arg(&script.path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let answer = finish(child);
    assert_eq!(answer.status.code(), Some(2), "{answer:?}");
    assert!(
        answer.log.contains("app.fcgi") && answer.log.contains("\"thread\""),
        "{}",
        answer.log
    );
}

#[test]
fn log_names_an_option_as_the_script_writes_it() {
    let script = Script::new("threads = 2\nbody_max = 4\nrequest_timeout = \"500ms\"");
    let refused = script.cgi("POST", "/echo").body("12345").run();
    let reason = format!("the body is larger than {} allows", script.name_of("body_max"));
    assert!(refused.log.contains(&reason), "{}", refused.log);
    let waiting = script.get("/waits");
    let told = format!("runs longer than {} allows", script.name_of("request_timeout"));
    assert!(waiting.log.contains(&told), "{}", waiting.log);
}

#[test]
fn option_that_the_script_does_not_say_is_named_as_it_would() {
    let script = Script::new("");
    let long = script
        .cgi("GET", "/pid")
        .variable("HTTP_COOKIE", "x".repeat(64 * 1024 + 1));
    let log = long.run().log;
    let reason = "a param's value is longer than app.fcgi: param_value allows";
    assert!(log.contains(reason), "{log}");
}
