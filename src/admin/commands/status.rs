//! `wsgi-fpm status`: what is wrong, if anything is, then a table that fits 80 columns.

use std::process::ExitCode;

use super::json;
use crate::admin::find;
use crate::cli::StatusArgs;
use crate::status::snapshot::{Counted, Instance, Pool, Snapshot, Thread, Worker};
use crate::status::summary::{self, Load};
use crate::status::words;
use crate::stdout;

const WIDTH: usize = 80;
/// Lines about what is wrong; the table has the rest.
const MOST_TROUBLES: usize = 8;

/// # Errors
/// There is no instance, or it does not answer.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let found = find::find(&args.instance.which)?;
    let pool = args.pool.as_ref().map(|pool| pool.as_str().to_owned());
    let is_one = pool.is_some();
    let snapshot = find::snapshot(found, pool)?;
    match args.instance.json {
        true => json(&snapshot)?,
        false => stdout::line(&text(&snapshot, is_one))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `is_one`: with everything about each pool.
fn text(snapshot: &Snapshot, is_one: bool) -> String {
    let mut lines = summary::troubles(snapshot, MOST_TROUBLES);
    lines.push(head(&snapshot.instance));
    lines.push(String::new());
    lines.extend(table(&snapshot.pools));
    if is_one {
        snapshot.pools.iter().for_each(|pool| details(pool, &mut lines));
    }
    lines.join("\n")
}

fn head(instance: &Instance) -> String {
    let Instance { version, pid, .. } = instance;
    let file = instance
        .file
        .as_deref()
        .map(|file| format!(", {}", words::cut(file, WIDTH)));
    let memory = instance.memory.map(|bytes| format!(", {}", words::memory(bytes)));
    format!(
        "wsgi-fpm {version}, pid {pid}, up {}{}{}",
        words::time(instance.uptime),
        memory.unwrap_or_default(),
        file.unwrap_or_default()
    )
}

const HEADS: [&str; 9] = [
    "POOL", "STATE", "WORKERS", "BUSY", "WAIT", "REQUESTS", "P50", "P99", "MEMORY",
];

fn table(pools: &[Pool]) -> Vec<String> {
    let rows: Vec<_> = pools.iter().map(row).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].len())
            .chain([HEADS[column].len()])
            .max()
    };
    let mut widths: Vec<_> = (0..HEADS.len()).map(|column| width(column).unwrap_or(0)).collect();
    // Everything but names has its longest.
    let others = widths[1..].iter().map(|width| width + 2).sum::<usize>();
    widths[0] = widths[0].min(WIDTH.saturating_sub(others).max(8));
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 | 1 => format!("{:<width$}", words::cut(cell, width)),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(HEADS.map(str::to_owned).to_vec())
        .chain(rows.iter().map(|row| row.to_vec()))
        .map(|row| line(&row))
        .collect()
}

fn row(pool: &Pool) -> [String; 9] {
    let Load { busy, threads, waiting } = summary::load(pool);
    let quantile = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), words::time);
    [
        pool.name.clone(),
        summary::state(pool).to_owned(),
        summary::size(pool),
        format!("{busy}/{threads}"),
        waiting.to_string(),
        words::count(pool.totals.requests),
        quantile(pool.totals.duration.p50),
        quantile(pool.totals.duration.p99),
        summary::memory(pool).map_or_else(|| "-".to_owned(), words::memory),
    ]
}

fn details(pool: &Pool, lines: &mut Vec<String>) {
    lines.push(String::new());
    lines.push(format!("application  {}", contract::log::escape(&pool.app)));
    for listener in &pool.listeners {
        let waiting = match (listener.waiting, listener.backlog) {
            (Some(waiting), Some(backlog)) => format!(", {waiting} of {backlog} wait"),
            _ => String::new(),
        };
        lines.push(format!(
            "listens      {}{waiting}",
            contract::log::escape(&listener.address)
        ));
    }
    let kept = &pool.kept;
    lines.push(format!(
        "kept         {} connections, {} wait",
        kept.connections, kept.waiting
    ));
    let reloads = &pool.reloads;
    lines.push(format!(
        "generation   {}; reloads: {} done, {} failed; {} leaders died",
        pool.generation, reloads.done, reloads.failed, reloads.leaders_died
    ));
    counts(&pool.totals, lines);
    for worker in &pool.workers {
        lines.push(String::new());
        lines.push(worker_line(worker));
        lines.extend(worker.threads.iter().map(thread_line));
    }
    if let Some(failure) = pool.failure.as_ref().filter(|failure| !failure.detail.is_empty()) {
        lines.push(String::new());
        lines.extend(failure.detail.lines().map(contract::log::escape));
    }
}

fn counts(totals: &Counted, lines: &mut Vec<String>) {
    let listed = |counts: &std::collections::BTreeMap<String, u64>| {
        let some = counts.iter().filter(|(_, count)| **count > 0);
        let some: Vec<_> = some
            .map(|(name, count)| format!("{} {}", name, words::count(*count)))
            .collect();
        match some.is_empty() {
            true => "none".to_owned(),
            false => some.join(", "),
        }
    };
    lines.push(format!("responses    {}", listed(&totals.responses)));
    lines.push(format!(
        "outcomes     {}; slow {}",
        listed(&totals.outcomes),
        words::count(totals.slow)
    ));
    for (name, counts) in [("refused", &totals.refused), ("replaced", &totals.replaced)] {
        if counts.values().any(|count| *count > 0) {
            lines.push(format!("{name:<12} {}", listed(counts)));
        }
    }
}

fn worker_line(worker: &Worker) -> String {
    let memory = worker
        .memory
        .map(|bytes| format!(", {}", words::memory(bytes)))
        .unwrap_or_default();
    format!(
        "worker {}  {}, generation {}, up {}, {} requests{memory}",
        worker.pid,
        summary::phase(worker),
        worker.generation,
        words::time(worker.age),
        words::count(worker.requests),
    )
}

fn thread_line(thread: &Thread) -> String {
    let what = match &thread.request {
        None => "idle".to_owned(),
        Some(request) => {
            let runs = words::time(request.runs);
            let left = WIDTH.saturating_sub(runs.len() + request.id.len() + 16);
            format!(
                "{runs}  {}  {}",
                words::cut(&request.id, WIDTH),
                words::cut(&request.line, left)
            )
        }
    };
    format!("  thread {:<3} {what}", thread.number)
}

#[cfg(test)]
mod tests {
    use contract::scoreboard::{Phase, Totals};

    use super::*;
    use crate::status::snapshot::{Application, Failure, Kept, Listener, Log, Reloads, Request, SCHEMA, Size, State};

    fn pool(name: &str, state: State) -> Pool {
        let request = |runs| Request {
            id: "4243-0-17".into(),
            line: "GET /report?year=2024".into(),
            runs,
        };
        let thread = |number, request| Thread {
            number,
            request,
            requests: 17,
        };
        Pool {
            name: name.into(),
            app: "mysite.wsgi:application".into(),
            state,
            failure: None,
            generation: 3,
            reloading: false,
            listeners: vec![Listener {
                address: "unix:/run/wsgi-fpm/blog.sock".into(),
                unreachable: None,
                waiting: Some(0),
                backlog: Some(1024),
            }],
            kept: Kept::default(),
            size: Size {
                least: 1,
                most: 4,
                threads: 2,
            },
            workers: vec![Worker {
                pid: 4243,
                leader: 4242,
                generation: 3,
                phase: Phase::Serving,
                age: 3700.0,
                memory: Some(120 << 20),
                requests: 34,
                threads: vec![thread(0, Some(request(2.5))), thread(1, None)],
            }],
            totals: Counted::from(Totals::default()),
            reloads: Reloads::default(),
            application: Application::default(),
        }
    }

    fn snapshot(pools: Vec<Pool>) -> Snapshot {
        Snapshot {
            schema: SCHEMA,
            time: 1.8e9,
            instance: Instance {
                version: "0.1.0".into(),
                pid: 4241,
                uptime: 3.0 * 86_400.0,
                file: Some("/etc/wsgi-fpm/wsgi-fpm.toml".into()),
                stopping: false,
                memory: Some(6 << 20),
            },
            pools,
            log: Log::default(),
        }
    }

    #[test]
    fn table_shows_each_pool_on_a_line() {
        let text = text(
            &snapshot(vec![pool("blog", State::Serving), pool("shop", State::Resting)]),
            false,
        );
        assert_eq!(
            text,
            "wsgi-fpm 0.1.0, pid 4241, up 3 d, 6 MiB, /etc/wsgi-fpm/wsgi-fpm.toml\n\
             \n\
             POOL  STATE      WORKERS  BUSY  WAIT  REQUESTS  P50  P99   MEMORY\n\
             blog  serving  1 (1..4)   1/2     0         0    -    -  120 MiB\n\
             shop  at rest  1 (1..4)   1/2     0         0    -    -  120 MiB"
                .replace("STATE      WORKERS", "STATE     WORKERS")
        );
    }

    #[test]
    fn table_fits_a_terminal_however_long_names_and_numbers_are() {
        let mut long = pool(&"x".repeat(64), State::Stopping);
        long.size.most = 1024;
        long.totals.requests = 123_456_789;
        long.totals.duration.p50 = Some(0.123);
        long.totals.duration.p99 = Some(119.0);
        long.kept.waiting = 12_345;
        for line in table(&[long, pool("blog", State::Serving)]) {
            assert!(line.len() <= WIDTH, "{} {line}", line.len());
        }
    }

    #[test]
    fn first_line_says_what_is_wrong() {
        let first = |pools: Vec<Pool>| text(&snapshot(pools), false).lines().next().unwrap().to_owned();
        let failed = |state| {
            let mut pool = pool("shop", state);
            pool.failure = Some(Failure {
                reason: "ImportError: no\x1bmodule".into(),
                detail: String::new(),
                age: 12.0,
            });
            pool
        };
        let well = || pool("blog", State::Serving);
        assert_eq!(
            first(vec![well(), failed(State::Failed)]),
            "shop: failed 12 s ago: ImportError: no\\u{1b}module"
        );
        assert_eq!(
            first(vec![well(), failed(State::Serving)]),
            "shop: the new version failed 12 s ago, the one before goes on: ImportError: no\\u{1b}module"
        );
        let mut crowded = well();
        crowded.workers[0].threads[1] = crowded.workers[0].threads[0].clone();
        crowded.listeners[0].waiting = Some(7);
        assert_eq!(
            first(vec![crowded.clone()]),
            "blog: all 2 threads are busy, and 7 connections wait"
        );
        crowded.listeners[0].waiting = Some(0);
        crowded.workers[0].threads[1].request.as_mut().unwrap().runs = 45.0;
        assert_eq!(
            first(vec![crowded]),
            "blog: a request has run for 45 s: GET /report?year=2024"
        );
        assert!(first(vec![well()]).starts_with("wsgi-fpm 0.1.0"));
        let many = (0..30).map(|_| failed(State::Failed)).collect();
        let many = text(&snapshot(many), false);
        assert!(many.contains("\nand 22 more like this\n"), "{many}");
    }

    #[test]
    fn one_pool_is_shown_with_what_each_thread_runs() {
        let text = text(&snapshot(vec![pool("blog", State::Serving)]), true);
        for line in [
            "listens      unix:/run/wsgi-fpm/blog.sock, 0 of 1024 wait",
            "worker 4243  serving, generation 3, up 61 min, 34 requests, 120 MiB",
            "  thread 0   2.5 s  4243-0-17  GET /report?year=2024",
            "  thread 1   idle",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
