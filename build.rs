//! Names the engine that is put into the program (feature `embedded-engine`); `src/engine.rs` includes it.

use std::path::Path;

/// The engine's file. It has to be built before, so whoever builds says where it is.
const FILE: &str = "WSGI_FPM_EMBED_ENGINE";
/// What no other engine has in its name, if the same file is also installed, as `lib/wsgi-fpm/engine-ID.so`.
const ID: &str = "WSGI_FPM_EMBED_ENGINE_ID";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_EMBEDDED_ENGINE").is_none() {
        return;
    }
    println!("cargo::rerun-if-env-changed={FILE}");
    println!("cargo::rerun-if-env-changed={ID}");
    if let Ok(id) = std::env::var(ID) {
        println!("cargo::rustc-env=WSGI_FPM_EMBEDDED_ENGINE_ID={id}");
    }
    match std::env::var(FILE) {
        Ok(file) if Path::new(&file).is_absolute() && Path::new(&file).is_file() => {
            println!("cargo::rerun-if-changed={file}");
            println!("cargo::rustc-env=WSGI_FPM_EMBEDDED_ENGINE={file}");
        }
        _ => println!(
            "cargo::error=the feature embedded-engine needs {FILE}=/path/to/libwsgi_fpm_engine.so, built before"
        ),
    }
}
