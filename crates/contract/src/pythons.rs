//! Which Pythons this version was tested with.

/// The newest one.
const NEWEST: [u32; 2] = [3, 15];

/// What an administrator is told of this version; nothing of one that was tested.
pub fn untested(version: [u32; 2]) -> Option<String> {
    let ([major, minor], [newest_major, newest_minor]) = (version, NEWEST);
    (version > NEWEST).then(|| {
        format!(
            "Python {major}.{minor} is newer than {newest_major}.{newest_minor}, the newest that this version of wsgi-fpm \
             was tested with"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_newer_pythons_are_untested() {
        let [major, minor] = NEWEST;
        assert_eq!(untested([3, 9]), None);
        assert_eq!(untested(NEWEST), None);
        let said = untested([major, minor + 1]).unwrap();
        assert!(
            said.starts_with(&format!("Python {major}.{} is newer", minor + 1)),
            "{said}"
        );
        untested([major + 1, 0]).unwrap();
    }
}
