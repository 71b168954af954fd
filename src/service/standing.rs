//! How pools stand, as one line that an administrator reads in `systemctl status`.

use std::collections::BTreeMap;

/// So many pools that have failed are named, with so much of the reason.
const NAMED: usize = 3;
const REASON: usize = 120;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Starts,
    Serves,
    /// It needs no process until something arrives.
    Rests,
    /// The next version has failed, for this reason, and the one before goes on.
    ServesPrevious(String),
    Failed(String),
}

/// All pools, by their numbers, with their names.
pub type Standings = BTreeMap<u64, (String, Standing)>;

/// `4 pools: 2 serve, 1 at rest, 1 failed: shop (ImportError: no module)`.
pub fn line(pools: &Standings) -> String {
    let count = |is: fn(&Standing) -> bool| pools.values().filter(|(_, standing)| is(standing)).count();
    let verb = |number: usize, verb: &str| match number {
        1 => format!("1 {verb}s"),
        _ => format!("{number} {verb}"),
    };
    let mut parts = Vec::new();
    let serve = count(|standing| matches!(standing, Standing::Serves));
    if serve > 0 {
        parts.push(verb(serve, "serve"));
    }
    let rest = count(|standing| matches!(standing, Standing::Rests));
    if rest > 0 {
        parts.push(format!("{rest} at rest"));
    }
    let start = count(|standing| matches!(standing, Standing::Starts));
    if start > 0 {
        parts.push(verb(start, "start"));
    }
    let previous = troubled(pools, |standing| match standing {
        Standing::ServesPrevious(reason) => Some(reason),
        _ => None,
    });
    if let Some((number, pools)) = previous {
        let whose = if number == 1 { "its" } else { "their" };
        let verb = verb(number, "serve");
        parts.push(format!("{verb} {whose} previous version, the new one failed: {pools}"));
    }
    let failed = troubled(pools, |standing| match standing {
        Standing::Failed(reason) => Some(reason),
        _ => None,
    });
    if let Some((number, pools)) = failed {
        parts.push(format!("{number} failed: {pools}"));
    }
    let pools = match pools.len() {
        0 => return "no pools".to_owned(),
        1 => "1 pool".to_owned(),
        number => format!("{number} pools"),
    };
    format!("{pools}: {}", parts.join(", "))
}

/// How many there are, and the first of them with reasons.
fn troubled(pools: &Standings, reason: impl Fn(&Standing) -> Option<&String>) -> Option<(usize, String)> {
    let all = pools
        .values()
        .filter_map(|(name, standing)| Some((name, reason(standing)?)));
    let all: Vec<_> = all.collect();
    let named = all.iter().take(NAMED).map(|(name, reason)| {
        let mut reason = contract::log::escape(reason).to_string();
        if let Some((end, _)) = reason.char_indices().nth(REASON) {
            reason.truncate(end);
            reason.push_str("...");
        }
        format!("{name} ({reason})")
    });
    let mut text = named.collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text.push_str(&format!(" and {} more", all.len() - NAMED));
    }
    (!all.is_empty()).then_some((all.len(), text))
}

#[cfg(test)]
mod tests {
    use super::Standing::*;
    use super::*;

    fn of<const N: usize>(standings: [Standing; N]) -> String {
        let named = standings
            .into_iter()
            .zip(["blog", "shop", "wiki", "mail", "news", "docs"]);
        let pools = named.map(|(standing, name)| (name.to_owned(), standing));
        line(&(0..).zip(pools).collect())
    }

    #[test]
    fn line_says_how_many_pools_serve_rest_start_and_fail() {
        assert_eq!(of([]), "no pools");
        assert_eq!(of([Serves]), "1 pool: 1 serves");
        assert_eq!(
            of([Serves, Rests, Serves, Starts, Rests]),
            "5 pools: 2 serve, 2 at rest, 1 starts"
        );
        let failed = |reason: &str| Failed(reason.to_owned());
        assert_eq!(
            of([
                Serves,
                failed("no such user"),
                ServesPrevious("ImportError: x".to_owned())
            ]),
            "3 pools: 1 serves, 1 serves its previous version, the new one failed: wiki (ImportError: x), \
             1 failed: shop (no such user)"
        );
    }

    #[test]
    fn line_stays_one_line_that_can_be_read_however_much_has_failed() {
        let text = of([(); 6].map(|()| Failed("x\n\x1b".repeat(1000))));
        assert!(text.starts_with("6 pools: 6 failed: blog (x"), "{text}");
        assert!(text.ends_with("...) and 3 more"), "{text}");
        assert!(text.len() < 600 && !text.contains(char::is_control), "{text}");
    }
}
