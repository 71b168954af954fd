//! SCRIPT_NAME and PATH_INFO from what the front server sent (SPEC B13 to B16).

use std::borrow::Cow;

/// How the pair is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMode {
    /// The whole path is cut at this prefix: "" or "/app". Front servers split at random places; their parts joined
    /// are right.
    Mount(String),
}

/// SCRIPT_NAME and PATH_INFO.
pub type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The pair, or `None` if the path isn't below the mount.
pub fn split<'a>(
    mode: &PathMode,
    script_name: Option<&'a [u8]>,
    path_info: Option<&'a [u8]>,
    request_uri: Option<&'a [u8]>,
) -> Option<Pair<'a>> {
    let full = match (script_name.unwrap_or(b""), path_info.unwrap_or(b"")) {
        // The raw URI is from before any rewriting: only good if nothing else was sent (SPEC B16).
        (b"", b"") if script_name.is_none() && path_info.is_none() => path_of_uri(request_uri.unwrap_or(b"/")),
        (script_name, b"") => Cow::Borrowed(script_name),
        (b"" | b"/", path_info) => Cow::Borrowed(path_info),
        (script_name, path_info) => {
            let script_name = script_name.strip_suffix(b"/").unwrap_or(script_name);
            Cow::Owned([script_name, path_info].concat())
        }
    };
    let full = match full {
        full if full.starts_with(b"/") => full,
        // `OPTIONS *` and nothing at all.
        full if full.is_empty() || *full == *b"*" => Cow::Borrowed(&b"/"[..]),
        full => Cow::Owned([b"/", &*full].concat()),
    };
    let PathMode::Mount(mount) = mode;
    let mount = mount.as_bytes();
    if mount.is_empty() {
        return Some((Cow::Borrowed(b""), full));
    }
    let rest = full.strip_prefix(mount)?;
    if !rest.is_empty() && !rest.starts_with(b"/") {
        return None;
    }
    Some((Cow::Owned(mount.to_vec()), Cow::Owned(rest.to_vec())))
}

/// The path of a request target, without its query, percent-decoded once.
fn path_of_uri(uri: &[u8]) -> Cow<'_, [u8]> {
    let path = uri.split(|&byte| byte == b'?').next().unwrap_or(b"");
    // absolute-form: scheme://authority/path
    let path = match path.windows(3).position(|window| window == b"://") {
        Some(scheme) if !path.starts_with(b"/") => {
            let authority = &path[scheme + 3..];
            authority
                .iter()
                .position(|&byte| byte == b'/')
                .map_or(&b"/"[..], |slash| &authority[slash..])
        }
        _ => path,
    };
    if !path.contains(&b'%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%')
            .then(|| after.first_chunk::<2>())
            .flatten()
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped {
            Some(value) => {
                decoded.push(value);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(decoded)
}
