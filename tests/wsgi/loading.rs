//! How an application is named and found: forms of APP, working directory, sys.path, environment.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::process::{Builder, Gateway};

fn loading() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wsgi/apps/loading")
}

fn app(app: &str) -> Builder {
    Gateway::app(app).chdir(loading())
}

/// The body that the application `app` gives.
#[track_caller]
fn body(app_option: &str) -> String {
    app(app_option).start().get("/").ok().text()
}

#[test]
fn module_and_callable() {
    assert_eq!(body("named_application:app"), "app");
    assert_eq!(body("package.wsgi:application"), "package");
}

#[test]
fn module_alone_means_application_then_app() {
    assert_eq!(body("named_application"), "application");
    assert_eq!(body("named_app"), "app");
    assert_eq!(body("package.wsgi"), "package");
}

#[test]
fn attribute_of_an_attribute() {
    assert_eq!(body("named_application:Nested.inner"), "inner");
}

#[test]
fn file_with_and_without_a_callable() {
    assert_eq!(body("named_application.py"), "application");
    assert_eq!(body("named_application.py:app"), "app");
    let absolute = loading().join("named_app.py");
    assert_eq!(body(absolute.to_str().unwrap()), "app");
}

#[test]
fn factory_is_called_once() {
    let gateway = app("factories:create()").start();
    gateway.get("/").ok();
    assert_eq!(gateway.get("/").ok().text(), "created 1 times");
}

#[test]
fn any_callable_is_an_application() {
    assert_eq!(body("callables:instance"), "instance");
    assert_eq!(body("callables:method"), "method");
    assert_eq!(body("callables:instance.method"), "method");
}

#[test]
fn c1_application_is_called_with_two_positional_arguments() {
    assert_eq!(body("callables:positional"), "2 0");
}

#[test]
fn what_cannot_be_loaded_ends_the_start_with_its_name() {
    for (name, parts) in [
        (
            "nobody_has_this_module",
            ["nobody_has_this_module", "nobody_has_this_module"],
        ),
        ("named_application:missing", ["missing", "named_application"]),
        ("named_application:not_callable", ["not_callable", "callable"]),
        ("nobody_has_this.py", ["nobody_has_this.py", "nobody_has_this.py"]),
        ("factories:fails()", ["the factory is broken", "fails"]),
        ("factories:gives_nothing()", ["gives_nothing", "NoneType"]),
        ("factories", ["application", "factories"]),
    ] {
        let (status, log) = app(name).fail();
        assert!(status.code().is_some_and(|code| code != 0), "{name}: {status}");
        let text = log.text();
        for part in parts {
            assert!(text.contains(part), "{part} in the log of {name}:\n{text}");
        }
    }
}

#[test]
fn working_directory_is_the_first_entry_of_sys_path() {
    let apps = loading().parent().unwrap().to_owned();
    let gateway = Gateway::app("processes").start();
    let seen: Value = serde_json::from_slice(gateway.get("/interpreter").ok().body()).unwrap();
    assert_eq!(seen["cwd"], apps.to_str().unwrap());
    assert_eq!(seen["path"][0], apps.to_str().unwrap());
}

#[test]
fn pythonpath_follows_the_working_directory() {
    let elsewhere = tempfile::tempdir().unwrap();
    let gateway = Gateway::app("named_app")
        .chdir(elsewhere.path())
        .option("--pythonpath", loading())
        .start();
    assert_eq!(gateway.get("/").ok().text(), "app");
    let both = Gateway::app("processes")
        .option("--pythonpath", elsewhere.path())
        .start();
    let seen: Value = serde_json::from_slice(both.get("/interpreter").ok().body()).unwrap();
    assert_eq!(seen["path"][1], elsewhere.path().to_str().unwrap());
}

#[test]
fn env_option_sets_variables_of_the_application() {
    let gateway = Gateway::app("processes")
        .option("--env", "DJANGO_SETTINGS_MODULE=site.settings")
        .option("--env", "WITH_EQUALS=a=b")
        .option("--env", "EMPTY=")
        .variable("INHERITED", "yes")
        .start();
    for (name, value) in [
        ("DJANGO_SETTINGS_MODULE", "site.settings"),
        ("WITH_EQUALS", "a=b"),
        ("EMPTY", ""),
        ("INHERITED", "yes"),
    ] {
        assert_eq!(
            gateway.get(&format!("/environment?{name}")).ok().text(),
            value,
            "{name}"
        );
    }
}

#[test]
fn missing_working_directory_ends_the_start_with_its_name() {
    let (status, log) = Gateway::app("processes").chdir("/nobody/has/this").fail();
    assert!(!status.success());
    assert!(log.text().contains("/nobody/has/this"), "{}", log.text());
}

#[test]
fn module_that_is_not_found_says_where_it_was_looked_for_and_where_it_lies() {
    let apps = loading().parent().unwrap().to_owned();
    let reason = |app: &str, chdir: PathBuf| {
        let (_, log) = Gateway::app(app).chdir(chdir).fail();
        let event = log.wait_for_line(&["can't be loaded", "\n  looked for "]);
        let (line, below) = event.split_once('\n').unwrap();
        assert!(!line.contains("looked"), "the reason is short: {line}");
        (line.to_owned(), below.to_owned())
    };
    // In a directory of the working directory, and in the one above it.
    let (line, places) = reason("named_application:app", apps.clone());
    let (apps, inner) = (apps.display(), loading());
    assert!(
        places.contains(&format!("looked for named_application in {apps}, ")),
        "{places}"
    );
    assert!(places.contains("(Python of /"), "{places}");
    let lies = format!("named_application lies in {0}: --chdir {0}", inner.display());
    assert!(line.contains(&lies), "{line}");
    let (line, _) = reason("package.wsgi", inner.join("package"));
    assert!(
        line.contains(&format!("package lies in {0}: --chdir {0}", inner.display())),
        "{line}"
    );
    // Nowhere, and not the application itself but what it imports.
    let (line, _) = reason("nobody_has_this_module", inner.clone());
    assert!(!line.contains(" lies in "), "{line}");
    // Inside of a package that is there.
    let (_, places) = reason("package.nobody_has_this", inner.clone());
    assert!(
        places.contains(&format!(
            "looked for package.nobody_has_this in {}/package (Python",
            inner.display()
        )),
        "{places}"
    );
}
