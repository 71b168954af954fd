#![no_main]

use libfuzzer_sys::fuzz_target;
use wsgi_fpm_fuzz::oracle;

fuzz_target!(|data: &[u8]| oracle::connection(data));
