//! Prometheus itself: its tool takes the metrics, the server scrapes them and takes the alerts, and the dashboard asks for nothing that is
//! not there.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::house::{House, pool};
use crate::status::{address, server};
use crate::support::http::{Client, Request};
use crate::support::installed;
use crate::support::net::free_tcp;
use crate::support::wait::{SOON, until};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(address: SocketAddr, accept: &str) -> String {
    let request = Request::get("/metrics").header("Accept", accept);
    Client::connect(address).exchange(&request).ok().text()
}

/// An instance with what there can be to count.
fn house() -> (House, SocketAddr) {
    let counts = pool("counts", "").replace("who:application", "counts:application");
    let collides = pool("other", "").replace("who:application", "collides:application");
    let house = House::serve(&[server("127.0.0.1:0", ""), counts, pool("one", ""), collides]);
    house.wait_ready("counts");
    house.wait_ready("other");
    house.wait_ready("one");
    house.get("counts", "/");
    house.get("one", "/");
    let address = address(&house);
    until("memory is known", SOON, || {
        let text = text(address, "");
        text.contains("wsgi_fpm_supervisor_memory_bytes ") && text.contains("outcome=\"complete\"} 1")
    });
    (house, address)
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Prometheus {
    /// With the shipped files, but for where and how often it asks.
    fn scraping(address: SocketAddr) -> Self {
        let directory = TempDir::with_prefix("wsgi-fpm-prometheus-").unwrap();
        let file = fs::read_to_string(shipped("prometheus/prometheus.yml")).unwrap();
        let file = file.replace("127.0.0.1:9180", &address.to_string());
        let often = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n";
        fs::write(directory.path().join("prometheus.yml"), format!("{often}{file}")).unwrap();
        fs::copy(shipped("prometheus/alerts.yml"), directory.path().join("alerts.yml")).unwrap();
        let own = free_tcp("127.0.0.1").unwrap();
        let child = Command::new("prometheus")
            .arg(format!(
                "--config.file={}",
                directory.path().join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={own}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let is_ready = || {
            let listens = std::net::TcpStream::connect(own).is_ok();
            listens && Client::connect(own).exchange(&Request::get("/-/ready")).status == 200
        };
        until("Prometheus is ready", SOON * 2, is_ready);
        Self {
            child,
            address: own,
            _directory: directory,
        }
    }

    fn api(&self, path: &str) -> Value {
        let answer = Client::connect(self.address).exchange(&Request::get(format!("/api/v1/{path}")));
        answer.json()["data"].clone()
    }

    /// The value of the only result; `None` if there is not one.
    fn query(&self, query: &str) -> Option<String> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = self.api(&format!("query?query={escaped}"))["result"].clone();
        match found.as_array().map(Vec::as_slice) {
            Some([one]) => one["value"][1].as_str().map(str::to_owned),
            _ => None,
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn promtool_has_nothing_to_say_against_the_metrics() {
    if !installed::prometheus() {
        return;
    }
    let (_house, address) = house();
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let page = text(address, "text/plain;version=0.0.4");
    let left_out = "wsgi_fpm_application_series_left_out{pool=\"other\"} 2\n";
    assert!(page.contains(left_out), "{page}");
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let verdict = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&verdict.stderr).into_owned() + &String::from_utf8_lossy(&verdict.stdout);
    assert!(verdict.status.success() && said.is_empty(), "{said}");
    let verdict = Command::new("promtool")
        .args(["check", "rules"])
        .arg(shipped("prometheus/alerts.yml"))
        .output()
        .unwrap();
    assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stdout));
}

#[test]
fn prometheus_scrapes_both_formats_and_takes_the_alerts() {
    if !installed::prometheus() {
        return;
    }
    let (_house, address) = house();
    let prometheus = Prometheus::scraping(address);
    let is = |query: &str, expected: &str| {
        until(query, SOON * 2, || prometheus.query(query).as_deref() == Some(expected));
    };
    is("up{job=\"wsgi-fpm\"}", "1");
    is("wsgi_fpm_requests_total{pool=\"one\",outcome=\"complete\"}", "1");
    is("orders_total{pool=\"counts\",country=\"n\\\"z\"}", "2");
    is(
        "count(wsgi_fpm_request_duration_seconds_bucket{pool=\"one\",le=\"+Inf\"})",
        "1",
    );
    is("wsgi_fpm_pool_state{pool=\"one\",wsgi_fpm_pool_state=\"serving\"}", "1");
    // It has asked for OpenMetrics, and knows what everything is.
    let about = prometheus.api("metadata");
    assert_eq!(about["wsgi_fpm_requests"][0]["type"], "counter", "{about}");
    assert_eq!(about["wsgi_fpm_pool_state"][0]["type"], "stateset");
    assert_eq!(about["wsgi_fpm_request_duration_seconds"][0]["unit"], "seconds");
    let shipped_alerts = fs::read_to_string(shipped("prometheus/alerts.yml"))
        .unwrap()
        .matches("- alert:")
        .count();
    until("all alerts were looked at", SOON, || {
        let groups = prometheus.api("rules")["groups"].clone();
        let rules = groups[0]["rules"].as_array().cloned().unwrap_or_default();
        rules.len() == shipped_alerts && rules.iter().all(|rule| rule["health"] == "ok")
    });
    // All is well, so none of them says anything.
    assert_eq!(prometheus.api("alerts")["alerts"], serde_json::json!([]));
}

/// Every name of a metric of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    words
        .filter(|word| word.starts_with("wsgi_fpm_") && *word != "wsgi_fpm_params")
        .map(str::to_owned)
        .collect()
}

#[test]
fn dashboard_alerts_and_documentation_name_metrics_that_there_are() {
    let (_house, address) = house();
    let page = text(address, "");
    let samples: BTreeSet<String> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(names)
        .collect();
    let dashboard = fs::read_to_string(shipped("grafana.json")).unwrap();
    let parsed: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() > 10);
    let used = |name: &str| fs::read_to_string(shipped(name)).unwrap();
    for (what, text) in [
        ("grafana.json", dashboard),
        ("alerts.yml", used("prometheus/alerts.yml")),
        ("example.yaml", used("kubernetes/example.yaml")),
    ] {
        let missing: Vec<_> = names(&text).difference(&samples).cloned().collect();
        assert!(missing.is_empty(), "{what} names {missing:?}");
    }
    let documented = fs::read_to_string(shipped("../docs/monitoring.md")).unwrap();
    let families: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let own = families.iter().filter(|name| name.starts_with("wsgi_fpm_"));
    let missing: Vec<_> = own
        .filter(|name| !names(&documented).iter().any(|known| known.starts_with(**name)))
        .collect();
    assert!(missing.is_empty(), "docs/monitoring.md lacks {missing:?}");
    let alerts = used("prometheus/alerts.yml");
    let alerts: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let missing: Vec<_> = alerts.iter().filter(|alert| !documented.contains(**alert)).collect();
    assert!(
        missing.is_empty(),
        "docs/monitoring.md does not say what to do at {missing:?}"
    );
}
