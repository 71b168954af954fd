//! Whether a way keeps its connections, as its name says: otherwise half of the others would test nothing of their own.

use std::collections::BTreeSet;

use crate::harness::backends::{SINGLE, alone};
use crate::harness::front::Front;
use crate::support::http::Request;

scenarios! {
    connections_are_kept_or_new_as_the_way_says
}

/// By the open descriptors of the process that answers, each with a number that is not used again soon.
fn connections_are_kept_or_new_as_the_way_says(front: &Front) {
    let _alone = alone(&SINGLE);
    let mut client = front.single.connect();
    let mut descriptors = || -> BTreeSet<String> {
        let response = client.exchange(&front.single.request(&Request::get("/descriptors")));
        response.ok().text().lines().map(str::to_owned).collect()
    };
    descriptors();
    let (before, after) = (descriptors(), descriptors());
    let is_kept = after.is_subset(&before);
    assert_eq!(is_kept, front.name.ends_with("_kept"), "{before:?}\n{after:?}");
}
