//! What a developer's browser shows of a failure: the page of `wsgi-fpm dev`, whether the application can't start, which
//! the program says, or fails in a request, which a worker says. Everything in it is escaped.

/// A request with this header asks the preview for the pool's status instead of a page. Its value is the status that the page
/// knows; the answer comes once there is another. A header, since a path would be taken away from the application.
pub const STATUS_HEADER: &str = "x-wsgi-fpm-status";

/// The status of a pool that serves, as pages know it.
pub const READY: &str = "ready";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2430;--dim:#5c6675;--line:#d9dee6;--paper:#fff;--code:#f5f7fa;--mark:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#9aa4b2;--line:#333b47;--paper:#161a20;--code:#1e242c;--mark:#ff8a80}}\
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:3rem 1.5rem}\
p.app,p.request{margin:0;color:var(--dim);overflow-wrap:anywhere}\
h1{margin:.2rem 0 1rem;font-size:1.5rem;color:var(--mark);overflow-wrap:anywhere}\
pre{padding:1rem;overflow-x:auto;background:var(--code);border:1px solid var(--line);border-radius:6px;\
font:13px/1.5 ui-monospace,monospace}footer{margin-top:2rem;color:var(--dim);font-size:.875rem}";

/// A page, in HTML.
#[derive(Debug, Default)]
pub struct ErrorPage<'a> {
    /// The application as it was typed.
    pub app: &'a str,
    /// The three digits.
    pub code: &'a str,
    /// What is wrong, in a line.
    pub what: &'a str,
    /// The request that it is about, as the log names it.
    pub request: Option<&'a str>,
    /// Several lines; may be empty.
    pub traceback: &'a str,
    /// What to do, or to wait for.
    pub hint: &'a str,
    /// The status under which the page is true: it reloads itself when there is another. Letters, digits and hyphens.
    pub known: Option<&'a str>,
}

impl ErrorPage<'_> {
    pub fn html(&self) -> String {
        let (code, app, what) = (self.code, escape(self.app), escape(self.what));
        let element = |before: &str, text: &str, after: &str| match text.trim_end() {
            "" => String::new(),
            text => format!("{before}{}{after}", escape(text)),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{code} {what}</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>\
             <main><p class=\"app\">{app} · wsgi-fpm dev</p><h1>{what}</h1>{request}{traceback}{hint}</main>{script}\n",
            request = element("<p class=\"request\">", self.request.unwrap_or_default(), "</p>"),
            traceback = element("<pre>", self.traceback, "</pre>"),
            hint = element("<footer>", self.hint, "</footer>"),
            script = self.known.map(watching).unwrap_or_default(),
        )
    }
}

/// Reloads the page when the status is not `known` any more.
fn watching(known: &str) -> String {
    format!(
        "<script>(async known=>{{for(;;){{try{{\
         const answer=await fetch(location.href,{{headers:{{'{STATUS_HEADER}':known}},cache:'no-store'}});\
         if(await answer.text()!==known)return location.reload()\
         }}catch{{await new Promise(wake=>setTimeout(wake,1000))}}}}}})('{known}')</script>"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_request_or_an_application_says_is_escaped() {
        let evil = "<script>\"'&</script>";
        let page = ErrorPage {
            app: evil,
            code: "500",
            what: evil,
            request: Some(evil),
            traceback: evil,
            hint: evil,
            known: None,
        };
        let html = page.html();
        let escaped = "&lt;script&gt;&quot;&#39;&amp;&lt;/script&gt;";
        // The second time of what is wrong is the title.
        assert_eq!(html.matches(escaped).count(), 6);
        assert!(!html.contains("<script>"), "{html}");
    }

    #[test]
    fn page_asks_for_another_status_than_the_one_that_it_knows() {
        let page = ErrorPage {
            known: Some("failed-3"),
            ..ErrorPage::default()
        };
        let html = page.html();
        assert!(
            html.contains("{'x-wsgi-fpm-status':known}") && html.ends_with("('failed-3')</script>\n"),
            "{html}"
        );
    }

    #[test]
    fn what_is_not_known_leaves_no_empty_box() {
        let html = ErrorPage::default().html();
        for element in ["<pre", "<footer", "class=\"request\"", "<script"] {
            assert!(!html.contains(element), "{html}");
        }
    }
}
