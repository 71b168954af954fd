//! A page of an application, as a browser would ask for it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::value_by_text;

/// A path with its query, as a browser sends it (`/shop?page=2`), or a whole URL, whose host and scheme count too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Page {
    written: String,
    /// Where the target begins.
    target: usize,
}

impl Page {
    /// What follows the method in a request line.
    pub fn target(&self) -> &str {
        &self.written[self.target..]
    }

    /// As in a `Host` header.
    pub fn host(&self) -> Option<&str> {
        let (_, rest) = self.written.split_once("://")?;
        Some(&rest[..rest.len() - self.target().len()])
    }

    pub fn is_https(&self) -> bool {
        self.written.starts_with("https://")
    }
}

impl FromStr for Page {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write a path such as /shop?page=2, or a whole URL such as https://example.org/shop";
        let authority = ["http://", "https://"].into_iter().find_map(|scheme| {
            let rest = written.strip_prefix(scheme)?;
            Some((scheme.len(), rest.find('/').unwrap_or(rest.len())))
        });
        let (target, host) = match authority {
            Some((scheme, length)) => (scheme + length, length),
            None => (0, 1),
        };
        if host == 0 || !written[target..].starts_with('/') {
            return Err(FORM);
        }
        if !written.bytes().all(|byte| byte.is_ascii_graphic()) || written.contains('#') {
            return Err("write what is no letter of a URL as %20, and no fragment");
        }
        Ok(Self {
            written: written.to_owned(),
            target,
        })
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl From<Page> for String {
    fn from(page: Page) -> Self {
        page.written
    }
}

impl TryFrom<String> for Page {
    type Error = &'static str;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        written.parse()
    }
}

value_by_text!(Page, "PAGE");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_of_no_host() {
        let page: Page = "/shop?page=2".parse().unwrap();
        assert_eq!(
            (page.target(), page.host(), page.is_https()),
            ("/shop?page=2", None, false)
        );
    }

    #[test]
    fn url_names_host_and_scheme() {
        let page: Page = "https://example.org:8443/shop".parse().unwrap();
        assert_eq!(
            (page.target(), page.host(), page.is_https()),
            ("/shop", Some("example.org:8443"), true)
        );
        let page: Page = "http://example.org/".parse().unwrap();
        assert_eq!(
            (page.target(), page.host(), page.is_https()),
            ("/", Some("example.org"), false)
        );
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for written in [
            "",
            "shop",
            "http:///",
            "http://example.org",
            "ftp://example.org/",
            "/a b",
            "/caf\u{e9}",
            "/#top",
        ] {
            assert!(written.parse::<Page>().is_err(), "{written}");
        }
    }

    #[test]
    fn page_is_sent_as_it_was_written() {
        let page: Page = "https://example.org/shop".parse().unwrap();
        let sent = serde_json::to_string(&page).unwrap();
        assert_eq!(sent, "\"https://example.org/shop\"");
        assert_eq!(serde_json::from_str::<Page>(&sent).unwrap(), page);
        assert!(serde_json::from_str::<Page>("\"shop\"").is_err());
    }
}
