//! What the application writes, in the right log and never in a response.

use crate::harness::front::Front;

scenarios! {
    output_of_the_application_is_in_its_log
}

/// D5, C49, C50.
fn output_of_the_application_is_in_its_log(front: &Front) {
    let target = format!("/speaks?what={}", front.name);
    assert_eq!(front.get(&target).ok().text(), "spoken");
    for how in ["print", "stderr", "descriptor 1", "wsgi.errors"] {
        front.plain.log.wait_for_line(&[&format!("{how} {}", front.name)]);
    }
}
