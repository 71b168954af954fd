//! SCRIPT_NAME and PATH_INFO from what the front server sent (SPEC B13 to B16).

use std::borrow::Cow;
use std::sync::Once;

use contract::settings::Settings;
use settings::Setting;
use settings::values::{Mount, PathSource};

/// How the pair is found.
#[derive(Debug)]
pub struct PathRule {
    /// The whole path is cut at this prefix: "" or "/app". Front servers split at random places; their parts joined are
    /// right. `None`: the pair is taken as sent, from a server that runs one script and knows its name.
    mount: Option<String>,
    /// What somebody has said of it.
    said: Setting<Option<Mount>>,
    source: Setting<PathSource>,
    strip_script: Setting<bool>,
}

/// What a front server can send.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent<'a> {
    pub script_name: Option<&'a [u8]>,
    pub path_info: Option<&'a [u8]>,
    pub request_uri: Option<&'a [u8]>,
}

/// SCRIPT_NAME and PATH_INFO.
pub type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

impl PathRule {
    pub fn new(settings: &Settings) -> Self {
        let mount = match &*settings.mount {
            None if settings.as_sent => None,
            mount => Some(mount.as_ref().map_or("", Mount::as_str).to_owned()),
        };
        Self {
            mount,
            said: settings.mount.clone(),
            source: settings.front.path_source.clone(),
            strip_script: settings.front.strip_script.clone(),
        }
    }

    /// The pair, or `None` if the path isn't below the mount.
    pub fn split<'a>(&self, sent: &Sent<'a>) -> Option<Pair<'a>> {
        let (script_name, path_info) = match (sent.script_name, sent.path_info) {
            // The raw URI is from before any rewriting: only good if nothing else was sent (SPEC B16).
            (None, None) => {
                if sent.request_uri.is_none() {
                    warn_of_no_path();
                }
                (&b""[..], path_of_uri(sent.request_uri.unwrap_or_default()))
            }
            (script_name, path_info) => {
                let path_info = Cow::Borrowed(path_info.unwrap_or_default());
                let script_name = script_name.unwrap_or_default();
                if *self.source == PathSource::RequestUri || *self.strip_script {
                    self.by_uri(script_name, path_info, sent.request_uri)
                } else {
                    (script_name, path_info)
                }
            }
        };
        match &self.mount {
            Some(_) if self.said.is_none() && !script_name.is_empty() && path_info.len() > 1 => {
                warn_of_no_mount(self.said.name(), script_name, sent.request_uri.unwrap_or_default());
                cut(b"", join(script_name, path_info))
            }
            Some(mount) => cut(mount.as_bytes(), join(script_name, path_info)),
            None => Some(tidy(script_name, path_info)),
        }
    }

    /// The pair as far as the client's own URL decides on it.
    fn by_uri<'a>(
        &self,
        script_name: &'a [u8],
        path_info: Cow<'a, [u8]>,
        request_uri: Option<&'a [u8]>,
    ) -> (&'a [u8], Cow<'a, [u8]>) {
        let Some(uri) = request_uri.filter(|uri| !uri.is_empty()) else {
            static ABSENT: Once = Once::new();
            ABSENT.call_once(|| {
                tracing::warn!(
                    "the web server does not send REQUEST_URI, which {} {} and {} need: paths are taken as it sends them",
                    self.source.name(),
                    PathSource::RequestUri,
                    self.strip_script.name()
                );
            });
            return (script_name, path_info);
        };
        let url = path_of_uri(uri);
        let script_name = if *self.strip_script {
            visible(script_name, &url)
        } else {
            script_name
        };
        match *self.source {
            PathSource::Params => (script_name, path_info),
            // The mount cuts it.
            PathSource::RequestUri if self.mount.is_some() => (b"", url),
            PathSource::RequestUri => {
                let script_name = without_last_slashes(script_name);
                match below(&url, script_name).map(<[u8]>::len) {
                    Some(rest) => (script_name, last(url, rest)),
                    None => (b"", url),
                }
            }
        }
    }
}

fn warn_of_no_path() {
    static ABSENT: Once = Once::new();
    ABSENT.call_once(|| {
        tracing::warn!(
            "the web server sends neither PATH_INFO nor SCRIPT_NAME nor REQUEST_URI, so every path is /: let it send \
             the params of a request (nginx: include wsgi_fpm_params)"
        );
    });
}

/// A prefix that the web server has split off, and that the client's URL shows: somebody has set it up for an application
/// that lives below it.
fn warn_of_no_mount(mount: &str, script_name: &[u8], request_uri: &[u8]) {
    static SPLIT: Once = Once::new();
    // As it was sent: a prefix that needs an escape costs this line, not each request a decoded copy.
    let rest = request_uri.strip_prefix(script_name);
    let is_prefix = script_name.len() > 1 && rest.is_some_and(|rest| rest.starts_with(b"/"));
    if is_prefix && !SPLIT.is_completed() {
        SPLIT.call_once(|| {
            let prefix = script_name.escape_ascii();
            tracing::warn!(
                "SCRIPT_NAME is {prefix} but no {mount} is given, so the application gets the whole path: if it lives \
                 below {prefix}, {mount} {prefix} says so; {mount} / is the whole site, without this line"
            );
        });
    }
}

/// As much of a script's name as the URL begins with, in whole segments.
fn visible<'a>(script_name: &'a [u8], url: &[u8]) -> &'a [u8] {
    let mut shown = script_name;
    while !shown.is_empty() && below(url, shown).is_none() {
        let slash = shown.iter().rposition(|&byte| byte == b'/');
        shown = &shown[..slash.unwrap_or(0)];
    }
    shown
}

/// What follows `prefix` in `path`, if it begins with it and a segment ends there. Several slashes count as one, as they
/// do for the servers that find a script by its URL.
fn below<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let mut rest = path;
    let mut segments = prefix.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty());
    segments.try_for_each(|segment| {
        let name = &rest[rest.iter().take_while(|&&byte| byte == b'/').count()..];
        rest = name.strip_prefix(segment)?;
        (rest.is_empty() || rest.starts_with(b"/")).then_some(())
    })?;
    Some(rest)
}

/// The last `length` bytes.
fn last(path: Cow<'_, [u8]>, length: usize) -> Cow<'_, [u8]> {
    let start = path.len() - length;
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(&path[start..]),
        Cow::Owned(mut path) => Cow::Owned(path.split_off(start)),
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

/// The whole path: one slash at the seam, whichever of the two has it.
fn join<'a>(script_name: &'a [u8], path_info: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
    match (script_name, &*path_info) {
        (_, b"") => Cow::Borrowed(script_name),
        (b"" | b"/", _) => path_info,
        (_, rest) => {
            let script_name = script_name.strip_suffix(b"/").unwrap_or(script_name);
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            Cow::Owned([script_name, b"/", rest].concat())
        }
    }
}

/// The pair in the form that SPEC B15 wants. What is too much at the end of SCRIPT_NAME belongs to PATH_INFO.
fn tidy<'a>(script_name: &'a [u8], path_info: Cow<'a, [u8]>) -> Pair<'a> {
    let (script_name, slashes) = match script_name.split_at(without_last_slashes(script_name).len()) {
        (b"*", _) => (&b""[..], &b"/"[..]),
        parts => parts,
    };
    let path_info = join(slashes, path_info);
    if script_name.is_empty() {
        return (Cow::Borrowed(b""), absolute(path_info));
    }
    let path_info = match &*path_info {
        b"" => path_info,
        _ => absolute(path_info),
    };
    (absolute(Cow::Borrowed(script_name)), path_info)
}

fn without_last_slashes(path: &[u8]) -> &[u8] {
    let last = path.iter().rposition(|&byte| byte != b'/');
    &path[..last.map_or(0, |last| last + 1)]
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
