//! The arguments of commands that see and steer an instance which runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use settings::values::{PoolName, Workers};

/// What each exit code of these commands means.
pub const STEERING_EXIT_CODES: &[(&str, &str)] = &[
    ("0", "It was done."),
    ("1", "It was tried and has failed; the last lines say why."),
    (
        "2",
        "Nothing was done: no instance, more than one, or one that this user may not steer; or what was typed makes no sense.",
    ),
];

/// Which instance is meant.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Instance")]
pub struct WhichArgs {
    /// The control socket of the instance [default: that of the only one that runs]
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    pub control: Option<PathBuf>,
    /// The instance that serves the pools of this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "control", value_hint = clap::ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// Which instance is meant, and how its answer is printed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Instance")]
pub struct InstanceArgs {
    #[command(flatten)]
    pub which: WhichArgs,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// This pool alone, with its workers and what each thread runs
    #[arg(value_name = "POOL")]
    pub pool: Option<PoolName>,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub struct TopArgs {
    /// This pool alone
    #[arg(value_name = "POOL")]
    pub pool: Option<PoolName>,
    /// Seconds from one look to the next: from 0.1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: Duration,
    #[command(flatten)]
    pub which: WhichArgs,
}

fn interval(typed: &str) -> Result<Duration, &'static str> {
    let seconds: Option<f64> = typed.parse().ok();
    let seconds = seconds.filter(|seconds| (0.1..=3600.0).contains(seconds));
    let seconds = seconds.ok_or("write a number of seconds from 0.1 to 3600, such as 2 or 0.5")?;
    Ok(Duration::from_secs_f64(seconds))
}

#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// This pool alone [default: all pools]
    #[arg(value_name = "POOL")]
    pub pool: Option<PoolName>,
    /// Only pools of which the file says something else, or whose last version has failed, as SIGHUP does
    #[arg(long)]
    pub changed: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// This pool alone, until the next reload or start [default: everything]
    #[arg(value_name = "POOL")]
    pub pool: Option<PoolName>,
    /// Cut running requests
    #[arg(long)]
    pub now: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub struct UpgradeArgs {
    #[command(flatten)]
    pub instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub struct RecycleArgs {
    /// Whose workers
    #[arg(value_name = "POOL")]
    pub pool: PoolName,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Whose workers
    #[arg(value_name = "POOL")]
    pub pool: PoolName,
    /// How many: a number, or a range such as 1..4
    #[arg(value_name = "N|MIN..MAX")]
    pub workers: Workers,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub struct StacksArgs {
    /// Whose workers
    #[arg(value_name = "POOL")]
    pub pool: PoolName,
    /// Pid of one worker [default: all of them]
    #[arg(value_name = "WORKER")]
    pub worker: Option<i32>,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

#[derive(Debug, Args)]
// One of both: what is there to be printed when neither is named?
#[command(group = clap::ArgGroup::new("what").required(true).args(["follow", "reopen"]))]
pub struct LogsArgs {
    /// Lines of this pool alone
    #[arg(value_name = "POOL", requires = "follow")]
    pub pool: Option<PoolName>,
    /// Print what is logged from now on, wherever it goes besides
    #[arg(short, long)]
    pub follow: bool,
    /// Open log files anew, after something has put the old ones away
    #[arg(long)]
    pub reopen: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

#[derive(Debug, Args)]
pub struct KillArgs {
    /// As logs and `wsgi-fpm status POOL` name it, such as 1234-0-56
    #[arg(value_name = "REQUEST")]
    pub request: String,
    #[command(flatten)]
    pub instance: InstanceArgs,
}
