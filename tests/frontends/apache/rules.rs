//! What Apache's own configuration makes of requests before the application sees them: limits, files, rewriting.

use super::{SCRIPTS, fcgid, host};
use crate::harness::scripts::script;
use crate::support::apache::Apache;
use crate::support::http::{Request, fetch};
use crate::support::installed;

/// What users meet where the configuration says nothing: docs/apache.md warns of it.
#[test]
fn upload_over_the_default_of_fcgid_max_request_len_is_a_500() {
    if !installed::apache("fcgid") {
        return;
    }
    let apache = Apache::fcgid()
        .host(&host(SCRIPTS))
        .script("site/app.fcgi", script("plain", ""))
        .start();
    let post = |length| fetch(apache.address(), &Request::post("/app.fcgi/digest").pattern(length));
    assert_eq!(post(131_072).ok().json()["length"], 131_072);
    post(131_073).expect(500);
    apache
        .process
        .log
        .wait_for_line(&["mod_fcgid: HTTP request length", "exceeds MaxRequestLen"]);
}

#[test]
fn static_files_are_sent_by_apache() {
    let Some(apache) = fcgid() else {
        return;
    };
    let apache = apache.file("site/static/site.css", "body{}\n").start();
    let get = |target: &str| fetch(apache.address(), &Request::get(target));
    assert_eq!(get("/static/site.css").ok().text(), "body{}\n");
    get("/static/none.css").expect(404);
    assert_eq!(get("/staticfiles").ok().json()["PATH_INFO"], "/staticfiles");
    // The script itself is nobody's business.
    assert_eq!(get("/app.fcgi").ok().json()["PATH_INFO"], "/app.fcgi");
}

/// A site whose .htaccess may not say CGIPassAuth, with these rules that lead to a script with these options.
fn rewritten(rules: &str, options: &str) -> Option<Apache> {
    if !installed::apache("fcgid") {
        return None;
    }
    let htaccess = format!("AddHandler fcgid-script .fcgi\nRewriteEngine On\n{rules}");
    let apache = Apache::fcgid()
        .module("rewrite")
        .host(&host("Options +ExecCGI\nAllowOverride FileInfo"))
        .file("site/.htaccess", htaccess)
        .script("site/app.fcgi", script("plain", options));
    Some(apache.start())
}

#[test]
fn authorization_comes_by_a_rewrite_rule_where_the_directive_is_not_allowed() {
    let keep = "E=HTTP_AUTHORIZATION:%{HTTP:Authorization}";
    let condition = "RewriteCond %{REQUEST_FILENAME} !-f\n";
    for (rules, options) in [
        (
            format!("RewriteRule ^ - [{keep}]\n{condition}RewriteRule ^(.*)$ app.fcgi/$1 [B=%?#,L]\n"),
            "# strip_script = true\n",
        ),
        // Here the variable has lost its name.
        (
            format!("{condition}RewriteRule ^(.*)$ app.fcgi/$1 [B=%?#,L,{keep}]\n"),
            "# strip_script = true\n# authorization_from_redirect = true\n",
        ),
    ] {
        let Some(apache) = rewritten(&rules, options) else {
            return;
        };
        let request = Request::get("/page").header("Authorization", "Basic dXNlcjpwYXNz");
        let environ = fetch(apache.address(), &request).ok().json();
        assert_eq!(environ["HTTP_AUTHORIZATION"], "Basic dXNlcjpwYXNz", "{rules}");
        assert_eq!(environ["SCRIPT_NAME"], "");
        assert_eq!(environ["PATH_INFO"], "/page");
    }
}

/// What Apache makes of a path is gone, and so is the rewriting to the script.
#[test]
fn path_of_the_url_arrives_as_it_was_sent() {
    let rules = "RewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^(.*)$ app.fcgi/$1 [L]\n";
    let Some(apache) = rewritten(rules, "# path_source = \"request-uri\"\n# mount = \"/\"\n") else {
        return;
    };
    for (target, path) in [("//a//b/", "//a//b/"), ("/a%2541", "/a%41"), ("/a%20b?x=%2F", "/a b")] {
        let environ = fetch(apache.address(), &Request::get(target)).ok().json();
        assert_eq!(environ["SCRIPT_NAME"], "", "{target}");
        assert_eq!(environ["PATH_INFO"], path, "{target}");
    }
}
