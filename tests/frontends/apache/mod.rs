//! What only Apache has: processes that it starts and ends, scripts that it can't start, its own files and rules.

mod broken;
mod processes;
mod rules;

use crate::harness::scripts::script;
use crate::support::apache::{Apache, Builder, Host};
use crate::support::installed;

/// mod_fcgid tells at this level how processes end.
const VERBOSE: &str = "LogLevel info";

/// What mod_fcgid needs to be told of a directory's scripts.
const SCRIPTS: &str = "Options +ExecCGI\nAddHandler fcgid-script .fcgi";

/// An Apache with mod_fcgid as apache/fcgid.conf has it, for one site with the application of these tests.
fn fcgid() -> Option<Builder> {
    installed::apache("fcgid").then(|| {
        Apache::fcgid()
            .text(VERBOSE)
            .site(
                "apache/fcgid.conf",
                "example.com",
                "",
                &[("/srv/example", "%PREFIX%/site")],
            )
            .script("site/app.fcgi", script("plain", ""))
    })
}

/// One site with these directives for its directory.
fn host(directory: &str) -> Host<'_> {
    Host {
        name: "example.com",
        root: "%PREFIX%/site",
        server: "",
        directory,
    }
}
