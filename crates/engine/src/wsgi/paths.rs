//! SCRIPT_NAME and PATH_INFO from what the front server sent (SPEC B13 to B16).

use std::borrow::Cow;

use pool::settings::Paths;

/// How the pair is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMode {
    /// The whole path is cut at this prefix: "" or "/app". Front servers split at random places; their parts joined
    /// are right.
    Mount(String),
    /// The front server runs one script and knows its name.
    AsSent,
}

/// SCRIPT_NAME and PATH_INFO.
pub type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

impl PathMode {
    pub fn new(paths: &Paths) -> Self {
        match &paths.mount {
            None if paths.as_sent => Self::AsSent,
            mount => Self::Mount(mount.clone().unwrap_or_default()),
        }
    }
}

/// The pair, or `None` if the path isn't below the mount.
pub fn split<'a>(
    mode: &PathMode,
    script_name: Option<&'a [u8]>,
    path_info: Option<&'a [u8]>,
    request_uri: Option<&'a [u8]>,
) -> Option<Pair<'a>> {
    let (script_name, path_info) = match (script_name, path_info) {
        // The raw URI is from before any rewriting: only good if nothing else was sent (SPEC B16).
        (None, None) => (&b""[..], path_of_uri(request_uri.unwrap_or_default())),
        (script_name, path_info) => (
            script_name.unwrap_or_default(),
            Cow::Borrowed(path_info.unwrap_or_default()),
        ),
    };
    match mode {
        PathMode::Mount(mount) => cut(mount.as_bytes(), join(script_name, path_info)),
        PathMode::AsSent => Some(tidy(script_name, path_info)),
    }
}

/// The path below `mount`.
fn cut<'a>(mount: &[u8], full: Cow<'a, [u8]>) -> Option<Pair<'a>> {
    let full = absolute(full);
    if mount.is_empty() {
        return Some((Cow::Borrowed(b""), full));
    }
    let rest = full.strip_prefix(mount)?;
    if !rest.is_empty() && !rest.starts_with(b"/") {
        return None;
    }
    Some((Cow::Owned(mount.to_vec()), Cow::Owned(rest.to_vec())))
}

fn join<'a>(script_name: &'a [u8], path_info: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
    match (script_name, &*path_info) {
        (_, b"") => Cow::Borrowed(script_name),
        (b"" | b"/", _) => path_info,
        (_, rest) => Cow::Owned([script_name.strip_suffix(b"/").unwrap_or(script_name), rest].concat()),
    }
}

/// The pair in the form that SPEC B15 wants. What is too much at the end of SCRIPT_NAME belongs to PATH_INFO.
fn tidy<'a>(script_name: &'a [u8], path_info: Cow<'a, [u8]>) -> Pair<'a> {
    let end = script_name
        .iter()
        .rposition(|&byte| byte != b'/')
        .map_or(0, |last| last + 1);
    let (script_name, slashes) = match script_name.split_at(end) {
        (b"*", _) => (&b""[..], &b"/"[..]),
        parts => parts,
    };
    let path_info = join(slashes, path_info);
    if path_info.is_empty() && !script_name.is_empty() {
        return (absolute(Cow::Borrowed(script_name)), path_info);
    }
    let script_name = match script_name {
        b"" => Cow::Borrowed(script_name),
        _ => absolute(Cow::Borrowed(script_name)),
    };
    (script_name, absolute(path_info))
}

/// With a slash at the beginning; `OPTIONS *` and nothing at all are one.
fn absolute(path: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match &*path {
        [b'/', ..] => path,
        b"" | b"*" => Cow::Borrowed(b"/"),
        path => Cow::Owned([b"/", path].concat()),
    }
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
