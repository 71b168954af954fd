//! The forms in which php-fpm tells how a pool is, and so do we: whatever reads the one reads the other.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use contract::log;

/// Names, as they are in JSON, and values, in the order in which they are shown.
pub type Fields = Vec<(&'static str, Value)>;

#[derive(Debug, Clone)]
pub enum Value {
    Text(String),
    Number(u64),
    /// Seconds since the epoch.
    Time(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Html,
    Xml,
    Json,
    OpenMetrics,
}

/// What OpenMetrics has: our names, its own, which type that is, and what it means. Totals have no `_total` at their ends, since php-fpm's
/// have none.
const METRICS: [(&str, &str, &str, &str); 11] = [
    (
        "start since",
        "start_since",
        "counter",
        "Seconds since the generation that serves was started.",
    ),
    (
        "accepted conn",
        "accepted_connections",
        "counter",
        "Requests that threads have begun.",
    ),
    (
        "listen queue",
        "listen_queue",
        "gauge",
        "Requests that wait for a thread.",
    ),
    (
        "max listen queue",
        "max_listen_queue",
        "counter",
        "The most that have waited at a look.",
    ),
    (
        "listen queue len",
        "listen_queue_length",
        "gauge",
        "Connections that the listeners let wait.",
    ),
    (
        "idle processes",
        "idle_processes",
        "gauge",
        "Threads without a request.",
    ),
    (
        "active processes",
        "active_processes",
        "gauge",
        "Threads with a request.",
    ),
    (
        "total processes",
        "total_processes",
        "gauge",
        "Threads of workers that serve.",
    ),
    (
        "max active processes",
        "max_active_processes",
        "counter",
        "The most threads that had a request at a look.",
    ),
    (
        "max children reached",
        "max_children_reached",
        "counter",
        "How often one worker more was wanted than there may be.",
    ),
    (
        "slow requests",
        "slow_requests",
        "counter",
        "Requests that took longer than slow_request.",
    ),
];

impl Form {
    /// The first of these words in the query, each with a value or without.
    pub fn wanted(query: &[u8]) -> Self {
        let forms = [
            (&b"html"[..], Self::Html),
            (b"xml", Self::Xml),
            (b"json", Self::Json),
            (b"openmetrics", Self::OpenMetrics),
        ];
        let wanted = forms.into_iter().find(|(word, _)| has(query, word));
        wanted.map_or(Self::Text, |(_, form)| form)
    }

    /// Without the charset, which is UTF-8.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Html => "text/html",
            Self::Xml => "text/xml",
            Self::Json => "application/json",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0",
        }
    }

    /// `threads`: if they are wanted, too.
    pub fn write(self, pool: &Fields, threads: Option<&[Fields]>) -> String {
        match self {
            Self::Text => text(pool, threads.unwrap_or_default()),
            Self::Html => html(pool, threads),
            Self::Xml => xml(pool, threads),
            Self::Json => json(pool, threads) + "\n",
            Self::OpenMetrics => metrics(pool),
        }
    }
}

/// Whether a query has this word.
pub fn has(query: &[u8], word: &[u8]) -> bool {
    query
        .split(|byte| *byte == b'&')
        .filter_map(|pair| pair.split(|byte| *byte == b'=').next())
        .any(|name| name == word)
}

impl Value {
    /// For people.
    fn shown(&self) -> String {
        match self {
            Self::Time(seconds) => {
                let mut shown = String::new();
                log::clf(&mut shown, UNIX_EPOCH + Duration::from_secs(*seconds));
                shown
            }
            other => other.plain(),
        }
    }

    /// For programs.
    fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) | Self::Time(number) => number.to_string(),
        }
    }
}

/// As php-fpm lines it up.
fn text(pool: &Fields, threads: &[Fields]) -> String {
    let mut text = String::new();
    let mut lines = |fields: &Fields| {
        for (name, value) in fields {
            // The one name that is not the same in all forms.
            let name = if *name == "request uri" { "request URI" } else { name };
            // Writing to a String can't fail.
            let _ = writeln!(text, "{:<21} {}", format!("{name}:"), value.shown());
        }
        text.push_str("\n************************\n");
    };
    lines(pool);
    threads.iter().for_each(lines);
    let end = text.rfind("\n***").unwrap_or(text.len());
    text.truncate(end);
    text
}

fn html(pool: &Fields, threads: Option<&[Fields]>) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>wsgi-fpm status</title></head>\n<body>\n<table>\n",
    );
    for (name, value) in pool {
        let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value.shown()));
    }
    page.push_str("</table>\n");
    if let Some(threads) = threads {
        page.push_str("<table border=\"1\">\n");
        if let Some(first) = threads.first() {
            row(&mut page, first.iter().map(|(name, _)| format!("<th>{name}</th>")));
        }
        for thread in threads {
            let cells = thread.iter().map(|(_, value)| escape(&value.shown()));
            row(&mut page, cells.map(|cell| format!("<td>{cell}</td>")));
        }
        page.push_str("</table>\n");
    }
    page + "</body></html>\n"
}

fn row(page: &mut String, cells: impl Iterator<Item = String>) {
    let _ = writeln!(page, "<tr>{}</tr>", cells.collect::<String>());
}

fn xml(pool: &Fields, threads: Option<&[Fields]>) -> String {
    let element = |(name, value): &(&str, Value)| {
        let name = name.replace(' ', "-");
        format!("<{name}>{}</{name}>", escape(&value.plain()))
    };
    let mut page = String::from("<?xml version=\"1.0\" ?>\n<status>\n");
    for field in pool {
        let _ = writeln!(page, "{}", element(field));
    }
    if let Some(threads) = threads {
        page.push_str("<processes>\n");
        for thread in threads {
            let _ = writeln!(
                page,
                "<process>{}</process>",
                thread.iter().map(element).collect::<String>()
            );
        }
        page.push_str("</processes>\n");
    }
    page + "</status>\n"
}

fn json(pool: &Fields, threads: Option<&[Fields]>) -> String {
    let members = |fields: &Fields| {
        let member = |(name, value): &(&str, Value)| match value {
            Value::Text(text) => format!("\"{name}\":{}", serde_json::Value::from(text.as_str())),
            number => format!("\"{name}\":{}", number.plain()),
        };
        fields.iter().map(member).collect::<Vec<_>>().join(",")
    };
    let threads = threads.map(|threads| {
        let all = threads.iter().map(|thread| format!("{{{}}}", members(thread)));
        format!(",\"processes\":[{}]", all.collect::<Vec<_>>().join(","))
    });
    format!("{{{}{}}}", members(pool), threads.unwrap_or_default())
}

fn metrics(pool: &Fields) -> String {
    let mut page = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: &str| {
        let _ = writeln!(
            page,
            "# HELP phpfpm_{name} {help}\n# TYPE phpfpm_{name} {kind}\nphpfpm_{name} {value}"
        );
    };
    metric("up", "gauge", "Whether the pool answers.", "1");
    for (field, name, kind, help) in METRICS {
        // What is not known is left out.
        if let Some((_, value)) = pool.iter().find(|(known, _)| *known == field) {
            metric(name, kind, help, &value.plain());
        }
    }
    page + "# EOF\n"
}

/// As text of HTML and XML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Fields {
        vec![
            ("pool", Value::Text("a<&\"".to_owned())),
            ("start time", Value::Time(951_827_696)),
            ("max active processes", Value::Number(3)),
        ]
    }

    fn threads() -> [Fields; 2] {
        [1, 2].map(|pid| {
            vec![
                ("pid", Value::Number(pid)),
                ("request uri", Value::Text("/<x>".to_owned())),
            ]
        })
    }

    #[test]
    fn form_is_the_one_that_php_fpm_would_take() {
        let forms = [
            ("", Form::Text),
            ("full", Form::Text),
            ("jsonx&xjson", Form::Text),
            ("full&json", Form::Json),
            ("json=1", Form::Json),
            ("json&xml&html", Form::Html),
            ("json&xml", Form::Xml),
            ("openmetrics&json", Form::Json),
            ("openmetrics", Form::OpenMetrics),
        ];
        for (query, form) in forms {
            assert_eq!(Form::wanted(query.as_bytes()), form, "{query}");
        }
        assert!(has(b"json&full=", b"full") && !has(b"json=full", b"full"));
    }

    #[test]
    fn text_is_lined_up_and_has_its_own_name_for_the_uri() {
        let text = Form::Text.write(&pool(), Some(&threads()));
        let expected = "\
pool:                 a<&\"
start time:           29/Feb/2000:12:34:56 +0000
max active processes: 3

************************
pid:                  1
request URI:          /<x>

************************
pid:                  2
request URI:          /<x>
";
        assert_eq!(text, expected);
        assert!(Form::Text.write(&pool(), None).ends_with("processes: 3\n"));
    }

    #[test]
    fn json_has_all_threads_or_does_not_speak_of_them() {
        let read = |threads: Option<&[Fields]>| -> serde_json::Value {
            serde_json::from_str(&Form::Json.write(&pool(), threads)).unwrap()
        };
        let threads = threads();
        let all = read(Some(&threads));
        assert_eq!(
            (&all["pool"], &all["start time"]),
            (&"a<&\"".into(), &951_827_696.into())
        );
        assert_eq!(all["processes"][1]["request uri"], "/<x>");
        assert!(read(None).get("processes").is_none());
        assert_eq!(read(Some(&[]))["processes"], serde_json::json!([]));
    }

    #[test]
    fn what_a_client_has_sent_is_text_in_html_and_xml() {
        for form in [Form::Html, Form::Xml] {
            let page = form.write(&pool(), Some(&threads()));
            assert!(page.contains("/&lt;x&gt;") && page.contains("a&lt;&amp;\""), "{page}");
            assert!(!page.contains("/<x>"), "{page}");
        }
        let xml = Form::Xml.write(&pool(), Some(&threads()));
        assert!(xml.contains("<start-time>951827696</start-time>\n"), "{xml}");
        assert!(xml.contains("<processes>\n<process><pid>1</pid>"), "{xml}");
        let html = Form::Html.write(&pool(), None);
        assert!(
            html.contains("<th>start time</th><td>29/Feb/2000:12:34:56 +0000</td>"),
            "{html}"
        );
        assert!(!html.contains("border"), "{html}");
    }

    #[test]
    fn openmetrics_has_the_names_of_php_fpm_and_leaves_out_what_is_not_known() {
        let page = Form::OpenMetrics.write(&pool(), Some(&threads()));
        assert!(
            page.starts_with("# HELP phpfpm_up ") && page.ends_with("\n# EOF\n"),
            "{page}"
        );
        assert!(
            page.contains("# TYPE phpfpm_max_active_processes counter\nphpfpm_max_active_processes 3\n"),
            "{page}"
        );
        assert!(!page.contains("listen_queue") && !page.contains("pid"), "{page}");
    }
}
