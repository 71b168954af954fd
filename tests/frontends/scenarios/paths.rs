//! SCRIPT_NAME and PATH_INFO by the path fixtures of SPEC B, and what each server does to odd paths before.

use crate::harness::front::{Entry, Front, Place};
use crate::harness::quirk::Quirk;
use crate::support::http::Request;

scenarios_of_requests! {
    path_is_decoded_once_and_kept_whole
    raw_bytes_of_a_path_arrive
    slashes_that_follow_each_other_arrive
    encoded_slash_arrives_decoded
    dots_are_resolved_before
    mount_is_cut_off_the_path
    path_outside_of_the_mount_is_a_404
}

/// SCRIPT_NAME, PATH_INFO and REQUEST_URI, as bytes.
#[track_caller]
fn paths(place: &Place, target: &[u8]) -> [Vec<u8>; 3] {
    let environ = place.send(&Request::get(target)).ok().json();
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

#[track_caller]
fn expect_path(place: &Place, target: &[u8], path: &[u8]) {
    let raw = [place.prefix.as_bytes(), target].concat();
    let expected = [place.prefix.clone().into_bytes(), path.to_vec(), raw];
    let found = paths(place, target);
    assert_eq!(
        found.clone().map(|bytes| bytes.escape_ascii().to_string()),
        expected.map(|bytes| bytes.escape_ascii().to_string()),
        "{}",
        target.escape_ascii()
    );
}

fn path_is_decoded_once_and_kept_whole(front: &Front) {
    let cases: [(&[u8], &[u8]); 9] = [
        (b"/", b"/"),
        (b"/app/a%20b/c", b"/app/a b/c"),
        (b"/a%2541", b"/a%41"),
        (b"/a%25", b"/a%"),
        (b"/a%3Fb", b"/a?b"),
        (b"/a%23b", b"/a#b"),
        (b"/%C3%A9t%C3%A9", "/\u{e9}t\u{e9}".as_bytes()),
        (b"/%ff%FE;x=1", b"/\xff\xfe;x=1"),
        (b"/a/b/", b"/a/b/"),
    ];
    for (target, path) in cases {
        expect_path(&front.plain, target, path);
    }
}

fn raw_bytes_of_a_path_arrive(front: &Front) {
    let target = "/\u{e9}".as_bytes();
    if front.has(Quirk::RefusesRawBytes) {
        front.plain.send(&Request::get(target)).expect(400);
        return;
    }
    let mut found = paths(&front.plain, target);
    if front.has(Quirk::EncodesRawBytes) {
        assert_eq!(std::mem::replace(&mut found[2], target.to_vec()), b"/%C3%A9");
    }
    assert_eq!(found, [b"".to_vec(), target.to_vec(), target.to_vec()]);
}

fn slashes_that_follow_each_other_arrive(front: &Front) {
    let (leading, between): (&[u8], &[u8]) = if front.has(Quirk::MergesSlashes) {
        (b"/a/b/", b"/a/b/")
    } else if front.has(Quirk::MergesLeadingSlashes) {
        (b"/a//b//", b"/a//b//")
    } else {
        (b"//a//b//", b"/a//b//")
    };
    expect_path(&front.plain, b"//a//b//", leading);
    expect_path(&front.plain, b"/a//b//", between);
}

fn encoded_slash_arrives_decoded(front: &Front) {
    if front.has(Quirk::RefusesEncodedSlash) {
        front.get("/a%2Fb").expect(404);
        return;
    }
    expect_path(&front.plain, b"/a%2Fb", b"/a/b");
}

fn dots_are_resolved_before(front: &Front) {
    let path: &[u8] = if front.has(Quirk::LeavesDots) {
        b"/a/./c/../b"
    } else {
        b"/a/b"
    };
    expect_path(&front.plain, b"/a/./c/../b", path);
}

fn mount_is_cut_off_the_path(front: &Front) {
    if front.has(Quirk::RedirectsToSlash) {
        let response = front.mounted.get("").expect(301);
        let location = response.header("Location").unwrap();
        assert!(location.ends_with(&format!("{}/", front.mounted.prefix)), "{location}");
    } else {
        expect_path(&front.mounted, b"", b"");
    }
    let cases: [(&[u8], &[u8]); 3] = [(b"/", b"/"), (b"/a%20b/c", b"/a b/c"), (b"/app/x", b"/app/x")];
    for (target, path) in cases {
        expect_path(&front.mounted, target, path);
    }
}

/// B14, E14.
fn path_outside_of_the_mount_is_a_404(front: &Front) {
    let outside = Place {
        prefix: String::new(),
        ..front.mounted.clone()
    };
    for target in ["/", "/application", "/other/app"] {
        let response = outside.get(target).expect(404);
        // Others have nothing there that leads to the application.
        if front.server.entry == Entry::Serve {
            assert_eq!(response.text(), "404 Not Found\n", "{target}");
        }
    }
}
