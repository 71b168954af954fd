//! Values as administrators write them, and as the program shows them.

use std::ffi::OsStr;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use settings::values::*;

#[track_caller]
fn shown<T: Value + Display>(written: &str) -> String {
    T::parse(OsStr::new(written)).expect(written).to_string()
}

#[test]
fn values_are_shown_as_they_are_written() {
    assert_eq!(shown::<Account>("www-data"), "www-data");
    assert_eq!(shown::<Address>("/run/a.sock"), "unix:/run/a.sock");
    assert_eq!(shown::<Address>("[::1]:9000"), "[::1]:9000");
    assert_eq!(shown::<Address>("fd:3"), "fd:3");
    assert_eq!(shown::<TcpAddress>(":8000"), "127.0.0.1:8000");
    assert_eq!(shown::<AtLeastOne<Size>>("64k"), "64k");
    assert_eq!(shown::<UpTo<1024>>("1000"), "1000");
    assert_eq!(shown::<Niceness>("-20"), "-20");
    assert_eq!(shown::<ResourceLimit>("nofile=4k"), "nofile=4096");
    assert_eq!(shown::<ResourceLimit>("core=unlimited"), "core=unlimited");
    assert_eq!(shown::<AppName>("blog:app"), "blog:app");
    assert_eq!(shown::<PoolName>("blog-2"), "blog-2");
    assert_eq!(shown::<Mode>("0o7"), "0007");
    assert_eq!(shown::<Mount>("/app/"), "/app");
    assert_eq!(shown::<Mount>(""), "/");
    assert_eq!(shown::<Timeout>("90"), "90s");
    assert_eq!(shown::<Level>("warn"), "warn");
    assert_eq!(shown::<Format>("json"), "json");
    assert_eq!(shown::<Preload>("off"), "off");
    assert_eq!(shown::<Workers>("auto"), "auto");
    assert_eq!(shown::<Workers>("12"), "12");
}

#[test]
fn texts_are_kept_as_they_are() {
    let text = OsStr::new("a b");
    assert_eq!(String::parse(text), Ok("a b".to_owned()));
    assert_eq!(PathBuf::parse(text), Ok(PathBuf::from("a b")));
    assert_eq!(Account::parse(text).expect("a name").as_str(), "a b");
    assert_eq!(AppName::parse(text).expect("a name").as_str(), "a b");
    assert_eq!(PoolName::parse(OsStr::new("a.b")).expect("a name").as_str(), "a.b");
    assert_eq!(Mount::parse(OsStr::new("/a b")).expect("a path").as_str(), "/a b");
}

#[test]
fn what_is_empty_is_no_path_no_application_and_no_pool() {
    let nothing = OsStr::new("");
    assert_eq!(PathBuf::parse(nothing), Err("write a path".into()));
    assert_eq!(
        AppName::parse(nothing),
        Err("write module:callable, or the path of a file".into())
    );
    assert!(PoolName::parse(nothing).is_err());
}

#[test]
fn only_paths_may_have_bytes_that_are_no_text() {
    let bytes = OsStr::from_bytes(b"caf\xe9");
    assert_eq!(PathBuf::parse(bytes), Ok(PathBuf::from(bytes)));
    assert_eq!(String::parse(bytes), Err("caf\u{fffd} is not UTF-8".into()));
    assert_eq!(AppName::parse(bytes), Err("caf\u{fffd} is not UTF-8".into()));
}

#[test]
fn switch_is_on_where_it_stands_unless_it_says_otherwise() {
    let read = |texts: &[&str]| bool::read(&texts.iter().map(Into::into).collect::<Vec<_>>());
    assert_eq!(
        (read(&[]), read(&["true"]), read(&["false"])),
        (Ok(true), Ok(true), Ok(false))
    );
    for wrong in [&["yes"][..], &["true", "false"]] {
        assert_eq!(read(wrong), Err("is true or false".into()));
    }
}

#[test]
fn one_value_is_neither_none_nor_two() {
    let one = |texts: &[&str]| Niceness::read(&texts.iter().map(Into::into).collect::<Vec<_>>());
    assert_eq!(one(&["5"]).map(Niceness::get), Ok(5));
    for wrong in [&[][..], &["5", "6"]] {
        assert_eq!(one(wrong), Err("write one value".into()));
    }
    assert_eq!(Option::<Niceness>::read(&[]), Ok(None));
}

#[test]
fn no_limit_is_known_as_none() {
    let limit = |written: &str| SizeLimit::parse(OsStr::new(written)).expect(written).bytes();
    assert_eq!((limit("0"), limit("2k")), (None, Some(2048)));
    let time = |written: &str| Timeout::parse(OsStr::new(written)).expect(written).duration();
    assert_eq!((time("0"), time("90").map(|time| time.as_secs())), (None, Some(90)));
}

#[test]
fn size_is_at_most_that_of_a_file_and_counts_in_memory_as_it_is() {
    assert_eq!(Size::of(i64::MAX as u64).map(Size::bytes), Some(i64::MAX as u64));
    assert_eq!(Size::of(i64::MAX as u64 + 1), None);
    assert_eq!(Size::of(4096).expect("a size").in_memory(), 4096);
}
