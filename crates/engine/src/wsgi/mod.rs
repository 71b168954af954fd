//! WSGI (PEP 3333): the environ, the call and the response.
//!
//! Knows exchanges; neither FastCGI nor sockets.

pub mod admission;
pub mod app;
pub mod call;
pub mod client_gone;
pub mod environ;
pub mod errors;
pub mod file_wrapper;
pub mod forwarded;
pub mod head;
pub mod input;
pub mod lenient;
pub mod lookup;
pub mod params;
mod paths;
pub mod printed;
pub mod reject;
pub mod respond;
pub mod response;
pub mod start_response;
pub mod traceback;
mod type_name;
