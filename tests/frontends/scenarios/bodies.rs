//! Bodies of every size in both directions.

use serde_json::json;

use crate::harness::data::{DIGEST_OF_50_MIB, DIGESTS, MIB, expect_pattern};
use crate::harness::front::{Front, Place};
use crate::harness::quirk::Quirk;
use crate::support::http::{Request, pattern};

scenarios! {
    request_bodies_arrive_whole
    post_without_a_body_needs_no_length
    chunked_request_bodies_arrive_whole
    chunked_upload_has_a_length_and_no_transfer_encoding
    response_bodies_arrive_whole
    response_bodies_of_unknown_length_arrive_whole
    early_response_arrives
}

scenarios_once! {
    request_body_of_50_mib_arrives_whole
    response_body_of_50_mib_arrives_whole
    early_response_to_an_unread_upload_of_50_mib_arrives
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

/// B11, C46.
fn chunked_upload_has_a_length_and_no_transfer_encoding(front: &Front) {
    for place in places(front) {
        let uncollected = place.host == front.streaming.host;
        let response = place.send(&Request::post("/").chunks(&[b"one, ", b"two, ", b"three"]));
        if front.has(Quirk::RefusesUnknownLength) {
            response.expect(400);
        } else if uncollected && front.has(Quirk::RefusesUnknownLengthUncollected) && response.status == 411 {
            // It had not arrived whole when the server decided.
        } else {
            let environ = response.ok().json();
            assert_eq!(environ["body"], "one, two, three", "at {}", place.host);
            assert_eq!(environ["CONTENT_LENGTH"], "15", "at {}", place.host);
            assert!(environ.get("HTTP_TRANSFER_ENCODING").is_none(), "{environ:#}");
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
            // A server that collects a response whole may tell its length.
            let told = response.header("Content-Length");
            assert!(told.is_none_or(|told| told == length.to_string()), "at {}", place.host);
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
    for place in places(front) {
        upload(place, 50 * MIB, DIGEST_OF_50_MIB);
    }
}

fn response_body_of_50_mib_arrives_whole(front: &Front) {
    for place in places(front) {
        download(front, place, 50 * MIB);
        let response = place.get(&format!("/sized?n={}&block=100000", 50 * MIB)).ok();
        expect_pattern(&response, 50 * MIB);
    }
}

fn early_response_to_an_unread_upload_of_50_mib_arrives(front: &Front) {
    if front.has(Quirk::SendsAllBeforeReading) {
        let request = Request::post("/early").pattern(50 * MIB);
        front.send(&request).expect(front.server.vanished);
    } else {
        for place in places(front) {
            early(place, 50 * MIB);
        }
    }
    for _ in 0..5 {
        front.get("/").ok();
    }
}
