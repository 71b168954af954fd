//! What holds for any input. Called by the fuzz targets and by the replay of their corpus.

use fastcgi::{PairError, Pairs, encode};

use super::feed::{Feed, Finish};

/// `data` is: the driver's manners, the number of cuts, the cuts (two bytes each), then the conversation. However it is
/// cut, the outcome is the one of the uncut conversation.
pub fn connection(data: &[u8]) {
    let [manners, cuts, data @ ..] = data else { return };
    let finish = [Finish::AtStdinEnd, Finish::AtRequest, Finish::AtAbort, Finish::Never][usize::from(manners & 3)];
    let max_params = [64, 300, 4096, 256 * 1024][usize::from((manners >> 2) & 3)];
    let (cuts, conversation) = data.split_at((2 * usize::from(*cuts)).min(data.len()));
    let sizes = cuts
        .chunks_exact(2)
        .map(|size| usize::from(u16::from_be_bytes([size[0], size[1]])));
    let whole = Feed::new(max_params, finish).in_pieces(conversation, []);
    let pieces = Feed::new(max_params, finish).in_pieces(conversation, sizes);
    assert_eq!(pieces, whole);
    if conversation.len() <= 4096 {
        let bytes = Feed::new(max_params, finish).in_pieces(conversation, std::iter::repeat_n(1, conversation.len()));
        assert_eq!(bytes, whole);
    }
}

/// A stream of pairs is read to its end or to one error, within its bounds, and means the same when written anew.
pub fn pairs(data: &[u8]) {
    let mut pairs = Pairs::new(data);
    let mut read = Vec::new();
    let mut error = None;
    for pair in pairs.by_ref() {
        match pair {
            Ok(pair) => read.push(pair),
            Err(this) => assert_eq!(error.replace(this), None, "two errors"),
        }
    }
    assert_eq!(pairs.next(), None);
    // Each pair has at least two bytes of lengths.
    let bytes: usize = read.iter().map(|(name, value)| 2 + name.len() + value.len()).sum();
    assert!(bytes <= data.len());
    match error {
        None if data.is_empty() => assert!(read.is_empty()),
        None => assert!(!read.is_empty()),
        Some(PairError::Overrun {
            name_length,
            value_length,
            left,
        }) => {
            assert!(u64::from(name_length) + u64::from(value_length) > left as u64);
        }
        Some(_) => assert!(bytes < data.len()),
    }

    let mut written = Vec::new();
    for (name, value) in &read {
        encode::pair(&mut written, name, value);
    }
    assert!(
        written.len() <= data.len(),
        "the shortest form is the one that is written"
    );
    let again: Result<Vec<_>, _> = Pairs::new(&written).collect();
    assert_eq!(again, Ok(read));

    let mut answer = Vec::new();
    encode::get_values_result(&mut answer, data, 1, 2);
    assert!(answer.len() <= 8 + 18 + 17 + 19);
}
