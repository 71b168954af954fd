//! Regular files that are appended to: a disk that is full takes a part of a line.

use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, ftruncate};

/// Its length; `None` if it is none, or others could not see where it ends.
pub fn length(file: impl AsFd) -> Option<u64> {
    let found = fstat(&file).ok()?;
    let is_appended_to = fcntl_getfl(&file).is_ok_and(|flags| flags.contains(OFlags::APPEND));
    let is_one = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && is_appended_to;
    is_one.then(|| u64::try_from(found.st_size).unwrap_or(0))
}

/// After a write that was not finished, to what was `before` as long: takes back the line whose end is missing. Not where somebody
/// else has written meanwhile: it would be his. Returns how much of `written` is there then.
pub fn keep_lines(file: impl AsFd, before: Option<u64>, written: &[u8]) -> usize {
    let lines = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let Some(before) = before else { return written.len() };
    let is_last = length(&file) == Some(before + written.len() as u64);
    if is_last && ftruncate(&file, before + lines as u64).is_ok() {
        lines
    } else {
        written.len()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn line_without_its_end_is_taken_back_unless_somebody_else_has_written_or_it_is_not_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let mut append = File::options();
        append.append(true).create(true);
        let mut file = append.open(&path).unwrap();
        let mut left = |written: &str, others: &str| {
            let before = length(&file);
            file.write_all(written.as_bytes()).unwrap();
            append.open(&path).unwrap().write_all(others.as_bytes()).unwrap();
            (
                keep_lines(&file, before, written.as_bytes()),
                fs::read_to_string(&path).unwrap(),
            )
        };
        assert_eq!(left("one\ntw", ""), (4, "one\n".to_owned()));
        assert_eq!(left("tw", ""), (0, "one\n".to_owned()));
        assert_eq!(left("two\n", ""), (4, "one\ntwo\n".to_owned()));
        assert_eq!(left("three\nfo", "x\n"), (8, "one\ntwo\nthree\nfox\n".to_owned()));
        let mut begins = File::create(directory.path().join("y.log")).unwrap();
        begins.write_all(b"hal").unwrap();
        assert_eq!((length(&begins), keep_lines(&begins, None, b"hal")), (None, 3));
    }
}
