//! SCRIPT_NAME and PATH_INFO by nginx's rows of the path fixtures of SPEC B, and what nginx does to odd paths before.

use crate::front::{Front, MOUNTED, MOUNTED_SPLIT, MOUNTED_STOCK, STOCK};
use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};

scenarios! {
    path_is_decoded_once_and_kept_whole
    mount_is_cut_off_the_path
    path_outside_of_the_mount_is_a_404
    query_arrives_as_it_is
}

/// SCRIPT_NAME, PATH_INFO and REQUEST_URI, as bytes.
#[track_caller]
fn paths(front: &Front, host: &str, target: &[u8]) -> [Vec<u8>; 3] {
    let environ = front.send(&Request::get(target).host(host)).ok().json();
    ["SCRIPT_NAME", "PATH_INFO", "REQUEST_URI"].map(|key| {
        let value = environ[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key} in {environ:#}"));
        // A str of WSGI: each character is a byte.
        value
            .chars()
            .map(|character| u8::try_from(character).unwrap())
            .collect()
    })
}

fn path_is_decoded_once_and_kept_whole(front: &Front) {
    // The two that nginx itself changes: it merges slashes and resolves dots, in what is not the raw URI.
    let cases: [(&[u8], &[u8]); 10] = [
        (b"/", b"/"),
        (b"/app/a%20b/c", b"/app/a b/c"),
        (b"/a%2541", b"/a%41"),
        (b"/a%2Fb", b"/a/b"),
        (b"/a%25", b"/a%"),
        (b"/%C3%A9t%C3%A9", "/\u{e9}t\u{e9}".as_bytes()),
        ("/\u{e9}".as_bytes(), "/\u{e9}".as_bytes()),
        (b"/%ff%FE;x=1", b"/\xff\xfe;x=1"),
        (b"//a//b/", b"/a/b/"),
        (b"/a/./../b", b"/b"),
    ];
    for host in ["localhost", STOCK] {
        for (target, path) in cases {
            let expected = [b"".to_vec(), path.to_vec(), target.to_vec()];
            assert_eq!(
                paths(front, host, target),
                expected,
                "{} at {host:?}",
                target.escape_ascii()
            );
        }
    }
}

fn mount_is_cut_off_the_path(front: &Front) {
    let cases: [(&[u8], &[u8]); 5] = [
        (b"/app", b""),
        (b"/app/", b"/"),
        (b"/app/a%20b/c", b"/a b/c"),
        (b"/app/app/x", b"/app/x"),
        (b"//app//x", b"/x"),
    ];
    for host in [MOUNTED, MOUNTED_STOCK, MOUNTED_SPLIT] {
        for (target, path) in cases {
            let expected = [b"/app".to_vec(), path.to_vec(), target.to_vec()];
            assert_eq!(
                paths(front, host, target),
                expected,
                "{} at {host:?}",
                target.escape_ascii()
            );
        }
    }
}

/// B14, E14.
fn path_outside_of_the_mount_is_a_404(front: &Front) {
    for host in [MOUNTED, MOUNTED_STOCK, MOUNTED_SPLIT] {
        for target in ["/", "/application", "/other/app"] {
            let response = front.send(&Request::get(target).host(host)).expect(404);
            assert_eq!(response.text(), "404 Not Found\n", "{target} at {host:?}");
        }
    }
}

fn query_arrives_as_it_is(front: &Front) {
    for query in ["", "a=%ZZ", "x=1&x=2;y", "%E9=\u{e9}", "a?b/../c//d"] {
        for host in ["localhost", STOCK] {
            let request = Request::get(format!("/page?{query}")).host(host);
            let environ = front.send(&request).ok().json();
            let bytes_as_latin_1: String = query.bytes().map(char::from).collect();
            assert_eq!(environ["QUERY_STRING"], bytes_as_latin_1, "{query:?}");
            assert_eq!(environ["PATH_INFO"], "/page");
        }
    }
}

/// Where nginx is told to leave slashes alone, so does the gateway (B13); after a rewrite it is the new path that counts
/// (B16).
#[test]
fn slashes_that_nginx_leaves_stay_and_rewritten_paths_count() {
    if !installed::nginx() {
        return;
    }
    let gateway = crate::front::site().start();
    let location = format!(
        "location / {{ include wsgi_fpm_params; fastcgi_pass {}; }}",
        upstream(&gateway.address)
    );
    let nginx = Nginx::configure()
        .server(
            0,
            "",
            &format!("merge_slashes off; rewrite ^/public/(.*)$ /private/$1; {location}"),
        )
        .start();
    let path = |target: &str| fetch(nginx.address(), &Request::get(target)).ok().json();
    assert_eq!(path("//a//b")["PATH_INFO"], "//a//b");
    assert_eq!(path("/public/page")["PATH_INFO"], "/private/page");
    assert_eq!(path("/public/page")["REQUEST_URI"], "/public/page");
}
