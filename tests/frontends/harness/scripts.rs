//! The application of these tests as a script that a web server starts.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::backends::apps;
use crate::support::python;

/// The options of the script below `/app`: the limits of [`crate::harness::backends`], with time for a start of Python on a busy
/// machine, which counts under CGI.
const LIMITS: &str = "# body_max = \"100k\"\n# params_bytes = \"8k\"\n# request_timeout = \"4s\"\n";

/// The script for a place of a [`crate::harness::front::Front`], with further lines of its options block.
pub fn script(place: &str, options: &str) -> String {
    let own = match place {
        "mounted" => LIMITS,
        "single" | "fragile" => "# threads = 1\n",
        _ => "",
    };
    format!(
        "#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# chdir = {chdir:?}\n# python = {python:?}\n{own}{options}# ///\n\
         from pages import application\n",
        chdir = apps(),
        python = interpreter(),
    )
}

/// The Python that a script names. Where the tests are given none, the one that is on PATH, but by its own name: what
/// chooses between versions there takes longer to start than Python.
pub fn interpreter() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        python::default().unwrap_or_else(|| {
            let asked = Command::new("python3")
                .args(["-c", "import sys; print(sys.executable)"])
                .output();
            let output = asked.expect("python3 is on PATH");
            PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
        })
    });
    found.clone()
}
