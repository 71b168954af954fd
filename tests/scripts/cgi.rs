//! What the application sees of a CGI request, and how the process ends (SPEC D).

use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};

use crate::script::finish;
use crate::script::{Answer, Script};
use crate::support::program::program;
use crate::support::python;

#[test]
fn d1_variables_are_bytes_as_latin_1_in_every_locale() {
    let script = Script::new("");
    let every_byte: Vec<u8> = (0x80..=0xff).collect();
    let shown: String = every_byte.iter().map(|&byte| char::from(byte)).collect();
    for locale in ["C", "C.UTF-8", "POSIX"] {
        let answer = script
            .cgi("GET", "/key?HTTP_X_BYTES")
            .variable("LC_ALL", locale)
            .variable("HTTP_X_BYTES", std::ffi::OsString::from_vec(every_byte.clone()))
            .run();
        let body: String = answer.body().iter().map(|&byte| char::from(byte)).collect();
        let printable = |text: &str| {
            text.chars()
                .filter(|c| *c > '\u{ff}' || *c >= '\u{a1}')
                .collect::<String>()
        };
        assert_eq!(
            printable(&body).replace('\u{ad}', ""),
            printable(&shown).replace('\u{ad}', ""),
            "{locale}: {answer:?}"
        );
    }
}

#[test]
fn d2_only_variables_of_the_request_enter_environ() {
    let script = Script::new("");
    let text = script
        .cgi("GET", "/environ")
        .variable("SECRET", "1")
        .variable("DATABASE_URL", "2")
        .variable("HTTP_PROXY", "3")
        .variable("SSL_CIPHER", "4")
        .variable("SSL_CERT_FILE", "5")
        .variable("SSL_CERT_DIR", "6")
        .variable("REDIRECT_STATUS", "200")
        .variable("REQUEST_SCHEME", "https")
        .run()
        .ok();
    for absent in [
        "SECRET",
        "DATABASE_URL",
        "PATH=",
        "PYTHONDONTWRITEBYTECODE",
        "LC_CTYPE",
        "HTTP_PROXY",
        "SSL_CERT_",
    ] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
    for present in [
        "SSL_CIPHER='4'",
        "REDIRECT_STATUS='200'",
        "wsgi.url_scheme='https'",
        "REMOTE_ADDR='192.0.2.1'",
    ] {
        assert!(text.contains(present), "{present} not in {text}");
    }
}

#[test]
fn d2_variables_that_the_script_names_enter_environ_too() {
    let script = Script::new("cgi_variable = [\"SITE\", \"SHOP_*\"]");
    let text = script
        .cgi("GET", "/environ")
        .variable("SITE", "a")
        .variable("SHOP_NAME", "b")
        .variable("SITES", "c")
        .run()
        .ok();
    assert!(text.contains("SITE='a'") && text.contains("SHOP_NAME='b'"), "{text}");
    assert!(!text.contains("SITES"), "{text}");
}

#[test]
fn f1_proxy_of_a_client_reaches_neither_the_process_nor_its_children() {
    let target = "/own_and_childs?HTTP_PROXY";
    let ask = |options: &str| {
        let script = Script::new(options);
        let request = script.cgi("GET", target);
        request.variable("HTTP_PROXY", "http://evil.example:8080").run().ok()
    };
    assert_eq!(ask(""), "absent absent");
    assert_eq!(
        ask("env = { HTTP_PROXY = \"http://ours:3128\" }"),
        "http://ours:3128 http://ours:3128",
        "the administrator's own"
    );
}

#[test]
fn d3_arguments_are_no_options() {
    let script = Script::new("");
    for argument in ["-h", "--config=/tmp/x", "--threads=0", "serve", "--", "\u{e9}"] {
        script.cgi("GET", "/pid?x").argument(argument).run().ok();
    }
}

#[test]
fn d8_flags_say_that_the_process_is_for_one_request() {
    let text = Script::new("").get("/environ").ok();
    for flag in [
        "wsgi.multithread=False",
        "wsgi.multiprocess=True",
        "wsgi.run_once=True",
        "wsgi.input_terminated=True",
    ] {
        assert!(text.contains(flag), "{flag} not in {text}");
    }
}

#[test]
fn d8_process_ends_with_0_after_close_and_exit_functions() {
    let script = Script::new("");
    assert_eq!(script.get("/at_exit").ok(), "ok");
    assert_eq!(script.notes(), "closed\nexit\n");
}

#[test]
fn d8_failure_of_the_application_is_a_500_and_exit_code_1() {
    let answer = Script::new("").get("/fail");
    answer.failed();
    assert!(
        answer.log.contains("ValueError") && answer.log.contains("on purpose") && answer.log.contains("GET"),
        "{}",
        answer.log
    );
}

#[test]
fn d8_failure_after_the_head_is_exit_code_1() {
    let answer = Script::new("").get("/fail_late");
    assert!(answer.output.starts_with(b"Status: 200 OK\r\n"), "{answer:?}");
    assert_eq!((answer.text().as_str(), answer.status.code()), ("first", Some(1)));
    assert!(answer.log.contains("after 5 bytes"), "{}", answer.log);
}

#[test]
fn d7_answer_without_a_body_has_a_head() {
    let script = Script::new("");
    let answer = script.get("/empty");
    assert_eq!(answer.ok(), "");
    assert_eq!(answer.head(), "Status: 200 OK\r\n\r\n");
    let answer = script.get("/location");
    assert!(
        answer
            .head()
            .starts_with("Status: 302 Found\r\nLocation: /elsewhere\r\n"),
        "{answer:?}"
    );
    assert_eq!(answer.status.code(), Some(0));
}

#[test]
fn d7_script_that_promises_the_whole_response_is_refused() {
    let script = Script::named("nph-app.cgi", "", include_str!("app.py"));
    let answer = script.get("/pid");
    assert!(
        answer.output.starts_with(b"HTTP/1.1 500 Internal Server Error\r\n"),
        "{answer:?}"
    );
    assert_eq!(answer.status.code(), Some(1));
    assert!(answer.log.contains("nph-"), "{}", answer.log);
}

#[test]
fn f5_sendfile_headers_are_left_out_if_the_script_says_so() {
    let head = |options: &str| Script::new(options).get("/sendfile").head();
    assert!(head("").contains("X-Sendfile: /srv/x\r\nX-Other: 1\r\nX-Accel-Redirect: /x\r\n"));
    let stripped = head("strip_sendfile_headers = true");
    assert!(stripped.starts_with("Status: 200 OK\r\nX-Other: 1\r\n"), "{stripped}");
    assert!(!stripped.contains("X-Accel"), "{stripped}");
}

#[test]
fn d9_script_that_no_web_server_has_started_says_what_to_type() {
    let script = Script::new("");
    let child = script
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let answer = finish(child);
    assert_eq!(answer.status.code(), Some(2), "{answer:?}");
    assert!(answer.output.is_empty(), "{answer:?}");
    assert!(
        answer.log.contains("wsgi-fpm dev") && answer.log.contains("wsgi-fpm serve"),
        "{}",
        answer.log
    );
}

#[test]
fn path_is_as_the_web_server_sent_it_unless_there_is_a_mount() {
    let text = Script::new("").get("/environ").ok();
    assert!(
        text.contains("SCRIPT_NAME='/cgi-bin/app.fcgi'\n") && text.contains("PATH_INFO='/environ'\n"),
        "{text}"
    );
    let text = Script::new("mount = \"/cgi-bin/app.fcgi\"").get("/environ").ok();
    assert!(text.contains("SCRIPT_NAME='/cgi-bin/app.fcgi'\n"), "{text}");
    let answer = Script::new("mount = \"/blog\"").get("/environ");
    assert!(answer.output.starts_with(b"Status: 404 "), "{answer:?}");
}

#[test]
fn answers_to_head_have_no_body() {
    let answer = Script::new("").cgi("HEAD", "/pid").run();
    assert_eq!(answer.ok(), "");
}

/// `wsgi-fpm cgi` with these arguments, in the directory of `script`.
fn by_command(script: &Script, arguments: &[&str]) -> Answer {
    let mut cgi = script.cgi("GET", "/pid");
    let mut command = std::process::Command::new(program());
    command.arg("cgi").args(arguments).current_dir(script.directory.path());
    command.env_clear();
    for (name, value) in cgi.command.get_envs() {
        command.env(name, value.unwrap());
    }
    if let Some(python) = crate::support::python::default() {
        command.arg("--python").arg(python);
    }
    cgi.command = command;
    cgi.run()
}

#[test]
fn application_that_is_no_script_runs_by_the_command_cgi() {
    let script = Script::raw("shop.py", include_str!("app.py"));
    by_command(&script, &["shop:application", "--chdir", "."]).ok();
    // A file's own directory, however it was named.
    for file in ["shop.py", "./shop.py", "shop.py:application"] {
        by_command(&script, &[file]).ok();
    }
    by_command(&script, &["no_such.py"]).failed();
}

#[test]
fn log_of_the_command_cgi_names_an_option_as_it_is_typed() {
    let script = Script::raw("shop.py", include_str!("app.py"));
    let answer = by_command(&script, &["shop.py", "--params-pairs", "3"]);
    let reason = "more params than --params-pairs allows";
    assert!(answer.log.contains(reason), "{}", answer.log);
}

#[test]
fn script_may_import_a_module_of_its_own_name() {
    let script = Script::named("app.fcgi", "", "from app import application\n");
    std::fs::write(script.file("app.py"), include_str!("app.py")).unwrap();
    assert_eq!(script.get("/key?REQUEST_METHOD").ok(), "'GET'");
}

const COLLECTOR: &str = "import gc\n\n\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
                         return [('%s %s' % (gc.get_threshold(), gc.get_freeze_count() > 0)).encode()]\n";

/// It is held back while the script is imported.
#[test]
fn garbage_collector_is_as_usual_when_the_application_is_called() {
    let usual = "import gc\nusual = gc.get_threshold()\n";
    let python = python::default().unwrap_or_else(|| "python3".into());
    let output = Command::new(python)
        .args(["-c", &format!("{usual}print(usual, True)")])
        .output()
        .unwrap();
    let answer = Script::named("app.cgi", "", COLLECTOR).get("/");
    assert_eq!(answer.ok(), String::from_utf8(output.stdout).unwrap().trim_end());
}

#[test]
fn garbage_collector_that_the_script_has_set_stays_so() {
    let source = format!("import gc\ngc.set_threshold(123, 4, 5)\n{COLLECTOR}");
    assert_eq!(Script::named("app.cgi", "", &source).get("/").ok(), "(123, 4, 5) False");
}

/// As in every Python program.
#[test]
fn finalizer_in_a_cycle_runs_at_the_end() {
    let source = "import os\n\nnotes = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'notes')\nnotes = \
                  os.open(notes, os.O_CREAT | os.O_WRONLY)\n\n\nclass Last:\n    def __del__(self, write=os.write, \
                  notes=notes):\n        write(notes, b'last')\n\n\nlast = Last()\nlast.itself = last\ndel last\n\n\n\
                  def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n";
    let script = Script::named("app.cgi", "", source);
    script.get("/").ok();
    assert_eq!(script.notes(), "last");
}

#[test]
fn forked_child_that_comes_back_leaves_no_trace_in_the_response() {
    let script = Script::new("");
    for (way, code) in [("raises", "1"), ("exits", "5"), ("returns", "0")] {
        let answer = script.get(&format!("/forks?{way}"));
        assert_eq!(answer.ok(), code, "{way}");
        let is_logged = answer.log.contains("RuntimeError: in the child");
        assert_eq!(is_logged, way == "raises", "{}", answer.log);
    }
}

#[test]
fn child_that_is_forked_at_import_leaves_no_trace_in_the_response() {
    for (way, code) in [("raise RuntimeError", 1), ("pass", 0)] {
        let source = format!(
            "import os\nchild = os.fork()\nif child == 0:\n    {way}\nelse:\n    code = os.WEXITSTATUS(os.waitpid(child, 0)[1])\n\
             def application(environ, start_response):\n    start_response('200 OK', [])\n    return [str(code).encode()]\n"
        );
        let script = Script::named("forks.py", "", &source);
        assert_eq!(script.get("/").ok(), code.to_string(), "{way}");
    }
}
