//! The snapshot as metrics: OpenMetrics 1.0, or the text format 0.0.4 of Prometheus. docs/monitoring.md lists them. Labels have
//! names of pools, listeners and what the program itself counts by, never anything of a request: their number is bounded.

use contract::scoreboard::Phase;

use super::application;
use super::exposition::{Format, Kind, Page};
use super::snapshot::{Log, Pool, Snapshot, State};

/// All metrics of this program.
pub fn render(snapshot: &Snapshot, format: Format) -> String {
    let mut page = Page::new(format);
    instance(&mut page, snapshot);
    log(&mut page, &snapshot.log);
    let pools = &snapshot.pools[..];
    states(&mut page, pools);
    requests(&mut page, pools);
    processes(&mut page, pools);
    connections(&mut page, pools);
    application::write(&mut page, pools);
    page.end()
}

fn instance(page: &mut Page, snapshot: &Snapshot) {
    let instance = &snapshot.instance;
    page.family("wsgi_fpm_build", Kind::Info, "The running program.");
    page.sample("_info", &[("version", &instance.version)], 1.0);
    page.family(
        "wsgi_fpm_start_time_seconds",
        Kind::Gauge,
        "When the supervisor was started, in seconds since the epoch.",
    );
    page.sample("", &[], (snapshot.time - instance.uptime).round());
    if let Some(memory) = instance.memory {
        page.family(
            "wsgi_fpm_supervisor_memory_bytes",
            Kind::Gauge,
            "Memory of the supervisor (PSS).",
        );
        page.sample("", &[], memory as f64);
    }
}

fn log(page: &mut Page, log: &Log) {
    let help = "Lines of logs that did not get to their destination: nobody read, or there was no room.";
    page.family("wsgi_fpm_log_lines_lost", Kind::Counter, help);
    for (destination, lost) in &log.lost {
        page.sample("_total", &[("destination", destination)], *lost as f64);
    }
}

fn states(page: &mut Page, pools: &[Pool]) {
    const STATES: [(State, &str); 6] = [
        (State::Starting, "starting"),
        (State::Serving, "serving"),
        (State::Resting, "resting"),
        (State::Failed, "failed"),
        (State::Stopping, "stopping"),
        (State::Stopped, "stopped"),
    ];
    page.family("wsgi_fpm_pool_state", Kind::StateSet, "How a pool is.");
    for pool in pools {
        for (state, name) in STATES {
            let labels = [("pool", pool.name.as_str()), ("wsgi_fpm_pool_state", name)];
            page.sample("", &labels, f64::from(pool.state == state));
        }
    }
    page.gauge(
        "wsgi_fpm_generation",
        "Number of the generation that serves.",
        pools,
        |pool| pool.generation as f64,
    );
    page.gauge(
        "wsgi_fpm_reloading",
        "1 while a further generation starts.",
        pools,
        |pool| f64::from(pool.reloading),
    );
    page.family("wsgi_fpm_reloads", Kind::Counter, "Reloads, by how they went.");
    for pool in pools {
        for (result, number) in [("done", pool.reloads.done), ("failed", pool.reloads.failed)] {
            page.sample("_total", &[("pool", &pool.name), ("result", result)], number as f64);
        }
    }
}

fn requests(page: &mut Page, pools: &[Pool]) {
    page.counters(
        "wsgi_fpm_requests",
        "outcome",
        "Requests that are over, by what became of them.",
        pools,
        |pool| &pool.totals.outcomes,
    );
    page.counters(
        "wsgi_fpm_responses",
        "status",
        "Responses, by the first digit of their status.",
        pools,
        |pool| &pool.totals.responses,
    );
    page.counters(
        "wsgi_fpm_requests_refused",
        "reason",
        "Requests that the gateway has answered itself.",
        pools,
        |pool| &pool.totals.refused,
    );
    page.counter(
        "wsgi_fpm_requests_slow",
        "Requests that have taken longer than slow_request.",
        pools,
        |pool| pool.totals.slow,
    );
    page.counter("wsgi_fpm_received_bytes", "Bytes of requests' bodies.", pools, |pool| {
        pool.totals.received
    });
    page.counter("wsgi_fpm_sent_bytes", "Bytes of responses' bodies.", pools, |pool| {
        pool.totals.sent
    });
    page.histograms(
        "wsgi_fpm_request_duration_seconds",
        "How long requests took, from when a thread had one until it was over.",
        pools,
        |pool| &pool.totals.duration.times,
    );
    page.histograms(
        "wsgi_fpm_request_queue_seconds",
        "How long requests had waited before that, where the web server says when they came.",
        pools,
        |pool| &pool.totals.queued.times,
    );
    let running = |pool: &Pool| -> Vec<f64> {
        let threads = pool.workers.iter().flat_map(|worker| &worker.threads);
        threads
            .filter_map(|thread| Some(thread.request.as_ref()?.runs))
            .collect()
    };
    page.gauge("wsgi_fpm_requests_in_flight", "Requests that run.", pools, |pool| {
        running(pool).len() as f64
    });
    page.gauge(
        "wsgi_fpm_request_longest_seconds",
        "How long the request runs that has run for longest; 0 if none does.",
        pools,
        |pool| running(pool).into_iter().fold(0.0, f64::max),
    );
}

fn processes(page: &mut Page, pools: &[Pool]) {
    const PHASES: [(Phase, &str); 3] = [
        (Phase::Starting, "starting"),
        (Phase::Serving, "serving"),
        (Phase::Retiring, "retiring"),
    ];
    page.family(
        "wsgi_fpm_workers",
        Kind::Gauge,
        "Workers, by how far their lives have got.",
    );
    for pool in pools {
        for (phase, name) in PHASES {
            let number = pool.workers.iter().filter(|worker| worker.phase == phase).count();
            page.sample("", &[("pool", &pool.name), ("phase", name)], number as f64);
        }
    }
    page.gauge(
        "wsgi_fpm_workers_least",
        "As few workers as there may be.",
        pools,
        |pool| f64::from(pool.size.least),
    );
    page.gauge(
        "wsgi_fpm_workers_most",
        "As many workers as there may be.",
        pools,
        |pool| f64::from(pool.size.most),
    );
    let serving = |pool: &Pool, is_wanted: fn(&super::snapshot::Thread) -> bool| {
        let serving = pool.workers.iter().filter(|worker| worker.phase == Phase::Serving);
        serving
            .flat_map(|worker| &worker.threads)
            .filter(|thread| is_wanted(thread))
            .count() as f64
    };
    page.gauge("wsgi_fpm_threads", "Threads of workers that serve.", pools, |pool| {
        serving(pool, |_| true)
    });
    page.gauge(
        "wsgi_fpm_threads_busy",
        "Of these, such as run a request.",
        pools,
        |pool| serving(pool, |thread| thread.request.is_some()),
    );
    page.gauge(
        "wsgi_fpm_threads_most",
        "As many threads as workers can have together.",
        pools,
        |pool| f64::from(pool.size.most) * f64::from(pool.size.threads),
    );
    page.counters(
        "wsgi_fpm_workers_replaced",
        "cause",
        "Workers that were replaced, by the cause.",
        pools,
        |pool| &pool.totals.replaced,
    );
    page.counter(
        "wsgi_fpm_leaders_died",
        "Leaders that had served and died.",
        pools,
        |pool| pool.reloads.leaders_died,
    );
    page.gauge(
        "wsgi_fpm_memory_bytes",
        "Memory of all workers together (PSS), as far as it is known.",
        pools,
        |pool| pool.workers.iter().filter_map(|worker| worker.memory).sum::<u64>() as f64,
    );
}

fn connections(page: &mut Page, pools: &[Pool]) {
    type Number = fn(&super::snapshot::Listener) -> Option<u32>;
    let lists: [(&str, &str, Number); 2] = [
        (
            "wsgi_fpm_listen_queue",
            "Connections that wait in the kernel for a free thread.",
            |listener| listener.waiting,
        ),
        (
            "wsgi_fpm_listen_queue_most",
            "As many may wait; further ones are refused.",
            |listener| listener.backlog,
        ),
    ];
    for (name, help, number) in lists {
        page.family(name, Kind::Gauge, help);
        for pool in pools {
            for listener in &pool.listeners {
                if let Some(number) = number(listener) {
                    let labels = [("pool", pool.name.as_str()), ("listener", listener.address.as_str())];
                    page.sample("", &labels, f64::from(number));
                }
            }
        }
    }
    page.gauge(
        "wsgi_fpm_connections_kept",
        "Connections that web servers keep open for further requests.",
        pools,
        |pool| pool.kept.connections as f64,
    );
    page.gauge(
        "wsgi_fpm_connections_waiting",
        "Of these, such as no worker has: their request waits for one.",
        pools,
        |pool| pool.kept.waiting as f64,
    );
}
