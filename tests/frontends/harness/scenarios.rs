//! The list of web servers, and the macros that run scenarios over them: functions of a [`crate::harness::front::Front`].

/// Every set-up of a web server, with the ways through it: modules of `servers/` and functions of theirs, which give nothing
/// where the server is not installed. The macro `$then` gets the list.
macro_rules! with_servers {
    ($then:ident $($argument:tt)*) => {
        $then! {
            $($argument)*
            apache_proxy [unix_kept unix_new tcp_kept tcp_new]
            apache_proxy_handler [unix_kept unix_new tcp_kept tcp_new]
            apache_fcgid [vhost wrapper]
            apache_fcgid_htaccess [htaccess]
            apache_cgid [script_alias]
            caddy [unix_new tcp_new]
            haproxy [unix_kept unix_new tcp_kept tcp_new]
            lighttpd [unix_new tcp_new]
            lighttpd_bin_path [unix_new]
            lighttpd_cgi [alias]
            nginx [unix_kept unix_new tcp_kept tcp_new]
            nginx_fcgiwrap [unix_new]
            nginx_spawn_fcgi [unix_kept tcp_new]
        }
    };
}

/// Set-ups that differ from another one in what a request says or how it finds its script, and in nothing else.
macro_rules! with_variants {
    ($then:ident $($argument:tt)*) => {
        $then! {
            $($argument)*
            apache_cgid_htaccess [htaccess]
            nginx_stock_params [unix_new split]
        }
    };
}

/// A test of each scenario over each way through each server.
macro_rules! scenarios {
    ($($name:ident)*) => {
        with_servers! { tests each {$($name)*} }
    };
}

/// As `scenarios!`, over the variants too.
macro_rules! scenarios_of_requests {
    ($($name:ident)*) => {
        with_servers! { tests each {$($name)*} }
        with_variants! { tests each {$($name)*} }
    };
}

/// As `scenarios!`, over one way of each server: for what takes long and is the same over all of its ways.
macro_rules! scenarios_once {
    ($($name:ident)*) => {
        mod once {
            use super::*;
            with_servers! { tests first {$($name)*} }
        }
    };
}

/// A test of each scenario over these ways: `each` of a server's, or the `first` one.
macro_rules! tests {
    ($which:ident $names:tt $($server:ident $ways:tt)*) => {
        $( tests! { @$which $server $ways $names } )*
    };
    (@first $server:ident [$way:ident $($others:ident)*] $names:tt) => {
        tests! { @each $server [$way] $names }
    };
    (@each $server:ident [$($way:ident)*] $names:tt) => {
        mod $server {
            $( tests! { @way $server $way $names } )*
        }
    };
    (@way $server:ident $way:ident {$($name:ident)*}) => {
        mod $way {
            $(
                #[test]
                fn $name() {
                    if let Some(front) = crate::servers::$server::$way() {
                        super::super::$name(&front);
                    }
                }
            )*
        }
    };
}
