//! The FastCGI 1.0 specification, sentence by sentence, as far as it binds an application's codec.
//!
//! Named by section. Sentences about processes, sockets and closing are the engine's to show.

use fastcgi::record::{KEEP_CONN, MAX_CONTENT, ProtocolStatus, VERSION, kind, role};
use fastcgi::{BeginRequest, Connection, Event, Ignored, PairError, Pairs, ProtocolError, encode};

use crate::support::feed::{Feed, Finish, Seen};

const PAIRS: [(&[u8], &[u8]); 2] = [(b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", b"/x")];

fn events(input: &[u8]) -> Vec<Seen> {
    Feed::new(4096, Finish::AtStdinEnd).in_pieces(input, []).seen
}

fn stream(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        encode::pair(&mut out, name, value);
    }
    out
}

/// What a client sends, written by `write`.
fn client(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn get(out: &mut Vec<u8>, id: u16) {
    encode::begin_request(out, id, role::RESPONDER, KEEP_CONN);
    encode::params(out, id, &PAIRS);
    encode::end_stdin(out, id);
}

fn begun(id: u16) -> BeginRequest {
    BeginRequest {
        id,
        role: role::RESPONDER,
        keep_conn: true,
    }
}

fn requested(id: u16) -> Seen {
    Seen::Request {
        begin: begun(id),
        params_too_large: false,
        params: stream(&PAIRS),
    }
}

fn got(id: u16) -> [Seen; 2] {
    [requested(id), Seen::StdinEnd]
}

#[test]
fn s3_3_a_record_has_eight_bytes_of_header_then_content_then_padding() {
    let record = client(|out| encode::record(out, kind::STDIN, 0x0102, b"abc", 5));
    assert_eq!(record, b"\x01\x05\x01\x02\x00\x03\x05\x00abc\0\0\0\0\0");
    let large = client(|out| encode::record(out, kind::STDIN, 1, &[0; 1000], 100));
    assert_eq!(
        (large.len(), large.capacity()),
        (1108, 1108),
        "memory for what is written, at once"
    );
}

#[test]
fn s3_3_another_version_than_one_is_refused_and_nothing_after_it_is_read() {
    for version in [0, 2, b'G', 255] {
        let mut input = client(|out| get(out, 1));
        input[0] = version;
        get(&mut input, 2);
        let header: [u8; 8] = input[..8].try_into().expect("eight bytes");
        assert_eq!(events(&input), [Seen::Failed(ProtocolError::Version { header })]);
    }
    assert_eq!(VERSION, 1);
}

#[test]
fn s3_3_content_and_padding_can_have_any_length_they_can_express() {
    for (length, padding) in [(0, 0), (0, 255), (1, 7), (65_535, 0), (65_535, 255)] {
        let body = vec![b'b'; length];
        let input = client(|out| {
            encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
            encode::record(out, kind::DATA, 9, &body, padding);
            encode::params(out, 1, &PAIRS);
            encode::record(out, kind::STDIN, 1, b"-", padding);
            encode::record(out, kind::DATA, 1, &body, padding);
            encode::stdin(out, 1, &body);
            encode::record(out, kind::STDIN, 1, b"", padding);
        });
        let mut whole = b"-".to_vec();
        whole.extend_from_slice(&body);
        assert_eq!(events(&input), [requested(1), Seen::Stdin(whole), Seen::StdinEnd]);
    }
}

#[test]
fn s3_3_padding_is_ignored() {
    let plain = events(&client(|out| get(out, 1)));
    let mut padded = Vec::new();
    encode::record(&mut padded, kind::BEGIN_REQUEST, 1, b"\0\x01\x01\0\0\0\0\0", 3);
    encode::record(&mut padded, kind::PARAMS, 1, &stream(&PAIRS), 255);
    encode::record(&mut padded, kind::PARAMS, 1, b"", 7);
    encode::record(&mut padded, kind::STDIN, 1, b"", 1);
    assert_eq!(events(&padded), plain);
}

#[test]
fn s3_3_id_zero_is_for_management_records_only() {
    for kind in [
        kind::BEGIN_REQUEST,
        kind::ABORT_REQUEST,
        kind::PARAMS,
        kind::STDIN,
        kind::DATA,
    ] {
        let input = client(|out| encode::record(out, kind, 0, b"\0\x01\0\0\0\0\0\0", 0));
        assert_eq!(events(&input), [Seen::Ignored(Ignored::NullId { kind })]);
    }
    let input = client(|out| encode::record(out, kind::GET_VALUES, 1, b"", 0));
    let ignored = Ignored::ManagementWithId {
        kind: kind::GET_VALUES,
        id: 1,
    };
    assert_eq!(events(&input), [Seen::Ignored(ignored)]);
}

#[test]
fn s3_3_any_id_but_zero_names_a_request_and_can_be_used_again_after_its_end() {
    let ids = [1, 2, 255, 256, 65_535, 1, 1];
    let input = client(|out| ids.iter().for_each(|id| get(out, *id)));
    assert_eq!(events(&input), ids.map(got).concat());
}

#[test]
fn s3_3_an_id_is_active_from_begin_request_to_end_request() {
    let mut connection = Connection::new(4096);
    let input = client(|out| get(out, 3));
    assert_eq!(connection.active(), None);
    let (taken, event) = connection.advance(&input).expect("a valid request");
    assert_eq!(
        event,
        Some(Event::Request {
            begin: begun(3),
            params_too_large: false
        })
    );
    assert_eq!(connection.active(), Some(begun(3)));
    assert_eq!(connection.advance(&input[taken..]), Ok((8, Some(Event::StdinEnd))));
    assert_eq!(connection.active(), Some(begun(3)));
    connection.finish();
    assert_eq!(connection.active(), None);
}

#[test]
fn s3_3_records_for_inactive_ids_are_ignored_begin_request_excepted() {
    let input = client(|out| {
        encode::params(out, 7, &PAIRS);
        encode::stdin(out, 7, b"body");
        encode::end_stdin(out, 7);
        encode::abort_request(out, 7);
        get(out, 1);
        encode::end_stdin(out, 1);
        encode::abort_request(out, 1);
        encode::params(out, 1, &PAIRS);
        get(out, 1);
    });
    assert_eq!(events(&input), [got(1), got(1)].concat());
}

#[test]
fn s3_3_begin_request_for_an_active_id_ends_the_conversation() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, 0);
        get(out, 1);
    });
    let header = [1, kind::BEGIN_REQUEST, 0, 1, 0, 8, 0, 0];
    assert_eq!(events(&input), [Seen::Failed(ProtocolError::ActiveId { header })]);
}

#[test]
fn s3_3_a_stream_is_a_series_of_records_closed_by_an_empty_one() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        for byte in stream(&PAIRS) {
            encode::record(out, kind::PARAMS, 1, &[byte], 0);
        }
        encode::record(out, kind::PARAMS, 1, b"", 0);
        encode::stdin(out, 1, b"ab");
        encode::stdin(out, 1, b"c");
        encode::end_stdin(out, 1);
    });
    assert_eq!(
        events(&input),
        [requested(1), Seen::Stdin(b"abc".to_vec()), Seen::StdinEnd]
    );
}

#[test]
fn s3_3_written_streams_are_cut_into_records_and_never_closed_by_accident() {
    let content = vec![b's'; 2 * MAX_CONTENT + 1];
    let out = client(|out| {
        encode::stdout(out, 1, b"");
        encode::stderr(out, 1, b"");
        encode::stdout(out, 1, &content);
    });
    let mut expected = encode::stdout_header(1, 65_535).to_vec();
    expected.resize(8 + MAX_CONTENT, b's');
    expected.extend_from_within(..);
    expected.extend_from_slice(b"\x01\x06\x00\x01\x00\x01\x00\x00s");
    assert_eq!(out, expected);
    assert_eq!(
        client(|out| encode::end_stdout(out, 1)),
        b"\x01\x06\x00\x01\x00\x00\x00\x00"
    );
    assert_eq!(
        client(|out| encode::stderr(out, 258, b"e")),
        b"\x01\x07\x01\x02\x00\x01\x00\x00e"
    );
    assert_eq!(
        client(|out| encode::end_stderr(out, 258)),
        b"\x01\x07\x01\x02\x00\x00\x00\x00"
    );
}

#[test]
fn s3_3_types_that_only_applications_send_are_ignored() {
    let kinds = [
        kind::END_REQUEST,
        kind::STDOUT,
        kind::STDERR,
        kind::GET_VALUES_RESULT,
        kind::UNKNOWN_TYPE,
    ];
    for (kind, id) in kinds.into_iter().flat_map(|kind| [(kind, 0), (kind, 1)]) {
        let input = client(|out| {
            encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
            encode::record(out, kind, id, b"12345678", 2);
            encode::params(out, 1, &PAIRS);
            encode::end_stdin(out, 1);
        });
        let mut expected = vec![Seen::Ignored(Ignored::ApplicationToServer { kind, id })];
        expected.extend(got(1));
        assert_eq!(events(&input), expected);
    }
}

#[test]
fn s3_4_lengths_below_128_take_one_byte_and_others_four() {
    assert_eq!(stream(&[(b"n", &[b'v'; 127])])[..2], [1, 127]);
    assert_eq!(stream(&[(b"n", &[b'v'; 128])])[..5], [1, 0x80, 0, 0, 128]);
    assert_eq!(stream(&[(&[b'n'; 300], b"")])[..5], [0x80, 0, 1, 44, 0]);
}

#[test]
fn s3_4_both_forms_of_both_lengths_are_read_for_any_length() {
    for forms in [
        &b"\x01\x02"[..],
        b"\x01\x80\0\0\x02",
        b"\x80\0\0\x01\x02",
        b"\x80\0\0\x01\x80\0\0\x02",
    ] {
        let input = [forms, b"kvv\0\0"].concat();
        let pairs: Vec<_> = Pairs::new(&input).collect();
        assert_eq!(pairs, [Ok((&b"k"[..], &b"vv"[..])), Ok((b"", b""))]);
    }
}

#[test]
fn s3_4_a_value_can_be_empty_and_binary() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        encode::params(out, 1, &[(b"EMPTY", b""), (b"BYTES", b"\0\xff\x80=\n")]);
    });
    let params = b"\x05\x00EMPTY\x05\x05BYTES\0\xff\x80=\n".to_vec();
    assert_eq!(
        events(&input),
        [Seen::Request {
            begin: begun(1),
            params_too_large: false,
            params
        }]
    );
}

#[test]
fn s3_4_a_pair_that_overruns_its_stream_is_told_without_waiting_for_the_declared_bytes() {
    let overrun = PairError::Overrun {
        name_length: 0x7fff_ffff,
        value_length: 1,
        left: 2,
    };
    assert_eq!(
        Pairs::new(b"\xff\xff\xff\xff\x01kv").collect::<Vec<_>>(),
        [Err(overrun)]
    );
}

#[test]
fn s4_1_get_values_is_an_event_at_any_time() {
    let query = stream(&[(b"FCGI_MAX_CONNS", b"")]);
    let mut input = Vec::new();
    let ask = |out: &mut Vec<u8>| encode::record(out, kind::GET_VALUES, 0, &query, 1);
    ask(&mut input);
    encode::begin_request(&mut input, 1, role::RESPONDER, KEEP_CONN);
    ask(&mut input);
    encode::params(&mut input, 1, &PAIRS);
    ask(&mut input);
    encode::end_stdin(&mut input, 1);
    ask(&mut input);
    let asked = Seen::GetValues(query);
    assert_eq!(
        events(&input),
        [
            asked.clone(),
            asked.clone(),
            requested(1),
            asked.clone(),
            Seen::StdinEnd,
            asked
        ]
    );
}

#[test]
fn s4_1_get_values_result_holds_only_known_names_that_were_asked_for() {
    let result = |names: &[&[u8]]| {
        let query: Vec<(&[u8], &[u8])> = names.iter().map(|name| (*name, &b""[..])).collect();
        client(|out| encode::get_values_result(out, &stream(&query), 1024, 8))
    };
    assert_eq!(result(&[]), b"\x01\x0a\0\0\0\0\0\0");
    assert_eq!(
        result(&[b"FCGI_MAX_REQS"]),
        b"\x01\x0a\0\0\0\x10\0\0\x0d\x01FCGI_MAX_REQS8"
    );
    assert_eq!(
        result(&[
            b"FCGI_MPXS_CONNS",
            b"NOBODY",
            b"FCGI_MAX_CONNS",
            b"",
            b"fcgi_max_reqs",
            b"FCGI_MAX_REQS"
        ]),
        b"\x01\x0a\0\0\0\x36\0\0\x0f\x01FCGI_MPXS_CONNS0\x0e\x04FCGI_MAX_CONNS1024\x0d\x01FCGI_MAX_REQS8"
    );
}

#[test]
fn s4_1_get_values_result_answers_a_repeated_name_once_so_that_one_record_suffices() {
    let query = stream(&[(b"FCGI_MPXS_CONNS", b"")]).repeat(3_800);
    let out = client(|out| encode::get_values_result(out, &query, 1, 1));
    assert_eq!(out, b"\x01\x0a\0\0\0\x12\0\0\x0f\x01FCGI_MPXS_CONNS0");
}

#[test]
fn s4_1_get_values_result_answers_what_is_readable_of_a_cut_off_query() {
    let out = client(|out| encode::get_values_result(out, b"\x0d\x00FCGI_MAX_REQS\x0e\x00FCGI_MAX", 1, 7));
    assert_eq!(out, b"\x01\x0a\0\0\0\x10\0\0\x0d\x01FCGI_MAX_REQS7");
}

#[test]
fn s4_2_unknown_management_type_is_answered_with_id_0() {
    for kind in [0, 12, 99, 255] {
        let input = client(|out| {
            encode::record(out, kind, 0, b"content", 1);
            get(out, 1);
        });
        assert_eq!(events(&input), [&[Seen::UnknownType(kind)], &got(1)[..]].concat());
        let answer = client(|out| encode::unknown_type(out, kind));
        assert_eq!(answer, [1, 11, 0, 0, 0, 8, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn s4_2_unknown_type_of_a_request_is_ignored_and_never_answered() {
    for kind in [0, 12, 99, 255] {
        let input = client(|out| {
            encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
            encode::record(out, kind, 1, b"content", 1);
            encode::params(out, 1, &PAIRS);
            encode::record(out, kind, 2, b"content", 1);
            encode::end_stdin(out, 1);
        });
        let ignored = |id| Seen::Ignored(Ignored::UnknownType { kind, id });
        assert_eq!(events(&input), [ignored(1), requested(1), ignored(2), Seen::StdinEnd]);
    }
}

#[test]
fn s5_1_begin_request_carries_role_and_flags() {
    for (role, flags, keep_conn) in [
        (1, 0, false),
        (2, 1, true),
        (3, 0xfe, false),
        (0, 0xff, true),
        (65_535, 3, true),
    ] {
        let input = client(|out| {
            encode::begin_request(out, 1, role, flags);
            encode::record(out, kind::PARAMS, 1, b"", 0);
        });
        let begin = BeginRequest { id: 1, role, keep_conn };
        assert_eq!(
            events(&input),
            [Seen::Request {
                begin,
                params_too_large: false,
                params: Vec::new()
            }]
        );
    }
}

#[test]
fn s5_1_begin_request_bodies_shorter_than_eight_bytes_are_refused_and_longer_ones_cut() {
    for length in [0, 7] {
        let body = &[0, 1, 1, 0, 0, 0, 0][..length];
        let input = client(|out| encode::record(out, kind::BEGIN_REQUEST, 1, body, 0));
        let header = [1, 1, 0, 1, 0, length as u8, 0, 0];
        assert_eq!(
            events(&input),
            [Seen::Failed(ProtocolError::ShortBeginRequest { header })]
        );
    }
    for length in [8, 9, 65_535] {
        let mut body = vec![0xff; length];
        body[..3].copy_from_slice(&[0, 1, 1]);
        let input = client(|out| {
            encode::record(out, kind::BEGIN_REQUEST, 1, &body, 0);
            encode::params(out, 1, &PAIRS);
            encode::end_stdin(out, 1);
        });
        assert_eq!(events(&input), got(1));
    }
}

#[test]
fn s5_2_params_stay_separate_between_requests() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        encode::params(out, 1, &[(b"REMOTE_USER", b"alice")]);
        encode::end_stdin(out, 1);
        get(out, 1);
    });
    assert_eq!(events(&input)[2..], got(1));
}

#[test]
fn s5_3_stdin_has_no_length_but_its_end() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        encode::params(out, 1, &[(b"CONTENT_LENGTH", b"3")]);
        encode::stdin(out, 1, b"more than three");
    });
    let outcome = Feed::new(4096, Finish::AtStdinEnd).in_pieces(&input, []);
    assert_eq!(outcome.seen[1..], [Seen::Stdin(b"more than three".to_vec())]);
    assert!(!outcome.stdin_ended && outcome.active.is_some());
}

#[test]
fn s5_4_abort_request_after_the_params_is_an_event_once() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        encode::params(out, 1, &PAIRS);
        encode::abort_request(out, 1);
        encode::abort_request(out, 1);
    });
    let outcome = Feed::new(4096, Finish::Never).in_pieces(&input, []);
    assert_eq!(outcome.seen, [requested(1), Seen::Abort]);
    assert_eq!(outcome.active, Some(begun(1)), "END_REQUEST is the driver's to send");
}

#[test]
fn s5_4_abort_request_is_an_event_for_each_request() {
    let input = client(|out| {
        for _ in 0..2 {
            encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
            encode::params(out, 1, &PAIRS);
            encode::abort_request(out, 1);
        }
    });
    assert_eq!(events(&input), [requested(1), Seen::Abort, requested(1), Seen::Abort]);
}

#[test]
fn s5_4_abort_request_before_the_end_of_the_params_forgets_the_request() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        encode::record(out, kind::PARAMS, 1, &stream(&PAIRS), 0);
        encode::abort_request(out, 1);
        encode::record(out, kind::PARAMS, 1, b"", 0);
        encode::end_stdin(out, 1);
        get(out, 1);
    });
    assert_eq!(events(&input), [&[Seen::AbortedEarly(begun(1))], &got(1)[..]].concat());
}

#[test]
fn s5_4_abort_request_for_another_id_does_not_touch_the_active_request() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        encode::abort_request(out, 2);
        encode::params(out, 1, &PAIRS);
        encode::abort_request(out, 2);
        encode::end_stdin(out, 1);
    });
    assert_eq!(events(&input), got(1));
}

#[test]
fn s5_5_end_request_carries_both_statuses() {
    let end = |status, protocol| client(|out| encode::end_request(out, 0x0203, status, protocol));
    assert_eq!(
        end(0, ProtocolStatus::RequestComplete),
        *b"\x01\x03\x02\x03\0\x08\0\0\0\0\0\0\0\0\0\0"
    );
    assert_eq!(
        end(0x0102_0304, ProtocolStatus::CantMpxConn),
        *b"\x01\x03\x02\x03\0\x08\0\0\x01\x02\x03\x04\x01\0\0\0"
    );
    assert_eq!(
        end(1, ProtocolStatus::Overloaded),
        *b"\x01\x03\x02\x03\0\x08\0\0\0\0\0\x01\x02\0\0\0"
    );
    assert_eq!(
        end(1, ProtocolStatus::UnknownRole),
        *b"\x01\x03\x02\x03\0\x08\0\0\0\0\0\x01\x03\0\0\0"
    );
}

#[test]
fn s5_5_a_second_request_on_a_busy_connection_is_refused_and_the_first_is_unharmed() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        encode::begin_request(out, 2, role::RESPONDER, 0);
        encode::params(out, 2, &[(b"OTHER", b"2")]);
        encode::params(out, 1, &PAIRS);
        encode::begin_request(out, 3, role::RESPONDER, 0);
        encode::stdin(out, 2, b"two");
        encode::stdin(out, 1, b"one");
        encode::end_stdin(out, 2);
        encode::end_stdin(out, 1);
    });
    let one = Seen::Stdin(b"one".to_vec());
    let expected = [
        Seen::SecondRequest { id: 2 },
        requested(1),
        Seen::SecondRequest { id: 3 },
        one,
        Seen::StdinEnd,
    ];
    assert_eq!(events(&input), expected);
}

#[test]
fn s6_1_stdin_and_data_before_the_end_of_the_params_end_the_conversation() {
    for kind in [kind::STDIN, kind::DATA] {
        for content in [&b""[..], b"x"] {
            let input = client(|out| {
                encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
                encode::record(out, kind::PARAMS, 1, &stream(&PAIRS), 0);
                encode::record(out, kind, 1, content, 0);
                encode::record(out, kind::PARAMS, 1, b"", 0);
            });
            let header = [1, kind, 0, 1, 0, content.len() as u8, 0, 0];
            assert_eq!(
                events(&input),
                [Seen::Failed(ProtocolError::BeforeParamsEnd { header })]
            );
        }
    }
}

#[test]
fn s6_2_a_responder_can_start_before_its_body_has_arrived() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        encode::params(out, 1, &PAIRS);
    });
    assert_eq!(events(&input), [requested(1)]);
}

#[test]
fn s6_2_a_responder_can_answer_before_its_body_has_been_read() {
    let mut connection = Connection::new(4096);
    let mut input = client(|out| {
        encode::begin_request(out, 1, role::RESPONDER, KEEP_CONN);
        encode::params(out, 1, &PAIRS);
        encode::record(out, kind::STDIN, 1, b"a long body", 3);
    });
    let cut = input.len() - 10;
    let rest = input.split_off(cut);
    let (taken, event) = connection.advance(&input).expect("valid records");
    assert_eq!(
        event,
        Some(Event::Request {
            begin: begun(1),
            params_too_large: false
        })
    );
    assert_eq!(
        connection.advance(&input[taken..]),
        Ok((12, Some(Event::Stdin(b"a lo"))))
    );
    assert!(!connection.between_records());

    connection.finish();
    assert_eq!(connection.advance(&rest), Ok((10, None)));
    assert!(connection.between_records() && !connection.stdin_ended());
    let more = client(|out| encode::stdin(out, 1, b"more"));
    assert_eq!(connection.advance(&more), Ok((12, None)));
    assert!(!connection.stdin_ended());
    let end = client(|out| encode::end_stdin(out, 1));
    assert_eq!(connection.advance(&end), Ok((8, None)));
    assert!(
        connection.stdin_ended(),
        "a driver that waits for the end of the body can close now"
    );
}

#[test]
fn s6_3_an_authorizer_has_no_stdin_and_is_reported_when_its_params_end() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::AUTHORIZER, 0);
        encode::params(out, 1, &PAIRS);
    });
    let begin = BeginRequest {
        id: 1,
        role: role::AUTHORIZER,
        keep_conn: false,
    };
    assert_eq!(
        events(&input),
        [Seen::Request {
            begin,
            params_too_large: false,
            params: stream(&PAIRS)
        }]
    );
}

#[test]
fn s6_4_data_is_discarded() {
    let input = client(|out| {
        encode::begin_request(out, 1, role::FILTER, KEEP_CONN);
        encode::params(out, 1, &PAIRS);
        encode::stdin(out, 1, b"in");
        encode::record(out, kind::DATA, 1, b"file", 0);
        encode::stdin(out, 1, b"put");
        encode::end_stdin(out, 1);
        encode::record(out, kind::DATA, 1, b"", 0);
    });
    let begin = BeginRequest {
        id: 1,
        role: role::FILTER,
        keep_conn: true,
    };
    let request = Seen::Request {
        begin,
        params_too_large: false,
        params: stream(&PAIRS),
    };
    assert_eq!(
        events(&input),
        [request, Seen::Stdin(b"input".to_vec()), Seen::StdinEnd]
    );
}

#[test]
fn s8_numbers_are_those_of_the_specification() {
    let kinds = [
        kind::BEGIN_REQUEST,
        kind::ABORT_REQUEST,
        kind::END_REQUEST,
        kind::PARAMS,
        kind::STDIN,
        kind::STDOUT,
        kind::STDERR,
        kind::DATA,
        kind::GET_VALUES,
        kind::GET_VALUES_RESULT,
        kind::UNKNOWN_TYPE,
    ];
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!([role::RESPONDER, role::AUTHORIZER, role::FILTER], [1, 2, 3]);
}
