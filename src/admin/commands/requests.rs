//! `wsgi-fpm stacks` and `wsgi-fpm kill`.

use std::process::ExitCode;

use contract::worker::{Stacks, Thread};

use super::{json, steer};
use crate::admin::client::AskError;
use crate::admin::find;
use crate::admin::protocol::{Answer, Ask, Imports, Worker};
use crate::cli::{KillArgs, StacksArgs};
use crate::status::words;
use crate::stdout;

/// # Errors
/// There is no instance, or no such pool or worker.
pub fn stacks(args: &StacksArgs) -> anyhow::Result<ExitCode> {
    let found = find::find(&args.instance.which)?;
    let ask = Ask::Stacks {
        pool: args.pool.as_str().to_owned(),
        worker: args.worker,
    };
    let mut answers = found.client.ask(ask)?;
    let mut code = ExitCode::SUCCESS;
    while let Some(answer) = answers.next()? {
        let Answer::Stacks(worker) = answer else {
            return Err(AskError::Gone.into());
        };
        if let Some(error) = &worker.error {
            match &worker.imports {
                Some(imports) => eprintln!("wsgi-fpm: error: {}: {error}", import_line(&worker, imports)),
                None => eprintln!("wsgi-fpm: error: {error}"),
            }
            code = ExitCode::FAILURE;
        }
        match &worker.stacks {
            _ if args.instance.json => json(&worker)?,
            Some(stacks) => stdout::line(&text(&worker, stacks))?,
            None => {}
        }
    }
    Ok(code)
}

/// # Errors
/// There is no instance, or the request does not run, or goes on.
pub fn kill(args: &KillArgs) -> anyhow::Result<ExitCode> {
    let request = args.request.clone();
    steer(&args.instance, Ask::Kill { request })
}

fn text(worker: &Worker, stacks: &Stacks) -> String {
    let head = match &worker.imports {
        Some(imports) => import_line(worker, imports),
        None if stacks.by_python => format!("worker {}", worker.worker),
        None => format!("worker {} (Python's lock is held: read from outside)", worker.worker),
    };
    let mut lines = vec![head];
    for thread in &stacks.threads {
        lines.extend(thread_lines(thread));
    }
    lines.join("\n") + "\n"
}

/// What a process does that imports the application.
pub fn import_line(worker: &Worker, imports: &Imports) -> String {
    let who = if imports.is_leader { "leader" } else { "worker" };
    let Worker { worker, .. } = worker;
    let Imports { generation, ms, .. } = imports;
    let taken = words::time(*ms as f64 / 1000.0);
    format!("{who} {worker} of generation {generation} imports the application, for {taken}")
}

/// A thread's name and what it runs, then its stack.
pub fn thread_lines(thread: &Thread) -> Vec<String> {
    let name = match thread.name.as_str() {
        "" => format!("thread {}", thread.ident),
        name => format!("thread {}", contract::log::escape(name)),
    };
    let what = match &thread.request {
        Some(request) => {
            let runs = words::time(request.ms as f64 / 1000.0);
            format!(
                ": {}, for {runs} ({})",
                contract::log::escape(&request.line),
                contract::log::escape(&request.id)
            )
        }
        None if thread.serves => ": idle".to_owned(),
        None => String::new(),
    };
    let stack = thread
        .stack
        .lines()
        .map(|line| format!("    {}", contract::log::escape(line)));
    std::iter::once(format!("  {name}{what}")).chain(stack).collect()
}
