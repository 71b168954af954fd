//! A web server that speaks something else to the socket than FastCGI: both logs say so, as `docs/troubleshooting.md` has it.

use crate::harness::backends::site;
use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};

#[test]
fn other_protocols_of_nginx_are_named_with_what_to_write() {
    if !installed::nginx() {
        return;
    }
    let gateway = site().start();
    let address = upstream(&gateway.address);
    let content = format!(
        "location /http {{ proxy_pass http://{address}; }}\n\
         location /uwsgi {{ uwsgi_param QUERY_STRING $query_string; uwsgi_pass {address}; }}\n\
         location /scgi {{ scgi_param CONTENT_LENGTH $content_length; scgi_pass {address}; }}\n\
         location /bare {{ fastcgi_pass {address}; }}"
    );
    let nginx = Nginx::configure().server(0, "localhost", &content).start();
    for (path, spoken) in [
        (
            "/http",
            "but HTTP: configure the front server for FastCGI (nginx: fastcgi_pass, not proxy_pass)",
        ),
        (
            "/uwsgi",
            "but uwsgi: configure the front server for FastCGI (nginx: fastcgi_pass, not uwsgi_pass)",
        ),
        (
            "/scgi",
            "but SCGI: configure the front server for FastCGI (nginx: fastcgi_pass, not scgi_pass)",
        ),
    ] {
        fetch(nginx.address(), &Request::get(path)).expect(502);
        gateway.log.wait_for_line(&["breaks the protocol", spoken]);
        let scheme = format!("upstream: \"{}://", &path[1..]);
        nginx.process.log.wait_for_line(&[
            "upstream prematurely closed connection while reading response header",
            &scheme,
        ]);
    }
    fetch(nginx.address(), &Request::get("/bare")).expect(400);
    gateway
        .log
        .wait_for_line(&["refused with 400", "include wsgi_fpm_params"]);
}
