//! Bodies of every size in both directions.

use serde_json::json;

use crate::front::{Front, Place};
use crate::quirk::Quirk;
use crate::support::http::{Request, Response, pattern};

scenarios! {
    request_bodies_arrive_whole
    post_without_a_body_needs_no_length
    chunked_request_bodies_arrive_whole
    response_bodies_arrive_whole
    response_bodies_of_unknown_length_arrive_whole
    early_response_arrives
}

scenarios_once! {
    request_body_of_50_mib_arrives_whole
    response_body_of_50_mib_arrives_whole
    early_response_to_an_unread_upload_of_50_mib_arrives
}

pub const MIB: u64 = 1024 * 1024;

/// SHA-256 of the first bytes of the pattern, as `sha256sum` has it.
const DIGESTS: [(u64, &str); 5] = [
    (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    (
        65_535,
        "dda402a2c028f0cbbdbc5c6ebae965eed9c75f71236e7022b0386d3455d5ae2f",
    ),
    (
        65_536,
        "4b640d85ab3ba30fd02c9fc9db4a8928f416322ad27022ea58a65aaee68a4df2",
    ),
    (MIB, "631b84027d6b9e52b539c4e8373622d23032dfadc64d60af87339c9037e4f769"),
];
const DIGEST_OF_50_MIB: &str = "3a7aef326b898081e6fb7b9599db2618b4f5e5301b64078f0f4e1f5382f634b9";

/// Asserts that the body is the first `length` bytes of the pattern, without printing them.
#[track_caller]
pub fn expect_pattern(response: &Response, length: u64) {
    assert_eq!(response.body.len() as u64, length);
    assert!(
        response.body == pattern(0, length as usize),
        "{length} bytes, but not the right ones"
    );
}

/// Both kinds, where there are two.
fn places(front: &Front) -> Vec<&Place> {
    match front.plain.host == front.streaming.host {
        true => vec![&front.plain],
        false => vec![&front.plain, &front.streaming],
    }
}

fn request_bodies_arrive_whole(front: &Front) {
    for place in places(front) {
        for (length, sha256) in DIGESTS {
            upload(place, length, sha256);
        }
    }
}

#[track_caller]
fn upload(place: &Place, length: u64, sha256: &str) {
    let digest = place.send(&Request::post("/digest").pattern(length)).ok().json();
    let expected = json!({"told": length.to_string(), "length": length, "sha256": sha256});
    assert_eq!(digest, expected, "at {}", place.host);
}

fn post_without_a_body_needs_no_length(front: &Front) {
    let response = front.send(&Request::post("/digest"));
    if front.has(Quirk::NeedsLengthOfEmptyPost) {
        response.expect(411);
    } else {
        assert_eq!(response.ok().json()["length"], 0);
    }
}

/// C46.
fn chunked_request_bodies_arrive_whole(front: &Front) {
    for place in places(front) {
        let uncollected = place.host == front.streaming.host;
        for (length, sha256) in &DIGESTS {
            if uncollected && front.has(Quirk::RefusesUnknownLengthUncollected) && *length < MIB {
                // It may have arrived whole when the server decides.
                continue;
            }
            let refused = [
                (Quirk::RefusesUnknownLength, true, 400),
                (Quirk::RefusesUnknownLengthUncollected, uncollected, 411),
                (Quirk::RefusesLargeUnknownLength, *length > 15_000, 400),
            ];
            let refused = refused.iter().find(|(quirk, applies, _)| *applies && front.has(*quirk));
            let body = pattern(0, *length as usize);
            let chunks: Vec<_> = body.chunks(10_000).collect();
            let response = place.send(&Request::post("/digest").chunks(&chunks));
            if let Some((_, _, status)) = refused {
                response.expect(*status);
                continue;
            }
            let mut digest = response.ok().json();
            if *length == 0 && digest["told"].is_null() {
                // A server may pass the request on before it has seen that there is no body: then it says nothing of it.
                digest["told"] = "0".into();
            }
            let expected = json!({"told": length.to_string(), "length": length, "sha256": sha256});
            assert_eq!(digest, expected, "at {}", place.host);
        }
    }
}

fn response_bodies_arrive_whole(front: &Front) {
    for place in places(front) {
        for (length, _) in DIGESTS {
            download(front, place, length);
        }
    }
}

#[track_caller]
fn download(front: &Front, place: &Place, length: u64) {
    let response = place.get(&format!("/sized?n={length}")).ok();
    let expected = length.to_string();
    if front.has(Quirk::DropsContentLength) {
        assert_ne!(
            response.header("Content-Length"),
            Some(expected.as_str()),
            "at {}",
            place.host
        );
    } else {
        assert_eq!(
            response.header("Content-Length"),
            Some(expected.as_str()),
            "at {}",
            place.host
        );
    }
    expect_pattern(&response, length);
}

fn response_bodies_of_unknown_length_arrive_whole(front: &Front) {
    for place in places(front) {
        for (length, block) in [
            (0, 1),
            (1, 1),
            (1000, 1),
            (65_535, 1000),
            (65_536, 65_536),
            (MIB, 100_000),
        ] {
            let response = place.get(&format!("/sized?n={length}&block={block}")).ok();
            expect_pattern(&response, length);
        }
    }
}

/// C47, A28.
fn early_response_arrives(front: &Front) {
    for place in places(front) {
        for length in [1, 65_536, MIB] {
            early(place, length);
        }
        // The connections that this has used are good for others, or gone.
        for _ in 0..5 {
            place.get("/").ok();
        }
    }
}

#[track_caller]
fn early(place: &Place, length: u64) {
    let response = place.send(&Request::post("/early").pattern(length)).expect(413);
    assert_eq!(response.text(), "too much", "{length} bytes at {}", place.host);
}

fn request_body_of_50_mib_arrives_whole(front: &Front) {
    upload(&front.plain, 50 * MIB, DIGEST_OF_50_MIB);
}

fn response_body_of_50_mib_arrives_whole(front: &Front) {
    download(front, &front.plain, 50 * MIB);
}

fn early_response_to_an_unread_upload_of_50_mib_arrives(front: &Front) {
    if front.has(Quirk::SendsAllBeforeReading) {
        let request = Request::post("/early").pattern(50 * MIB);
        front.send(&request).expect(front.server.vanished);
    } else {
        early(&front.plain, 50 * MIB);
    }
    for _ in 0..5 {
        front.get("/").ok();
    }
}
