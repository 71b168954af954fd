//! `wsgi-fpm top`: a running instance, as it is now, in a terminal. The same snapshots as `wsgi-fpm status`, once in each interval.

mod app;
mod ask;
mod rates;
mod rows;
mod run;
mod screen;
mod stack;
mod table;
mod view;

pub use run::run;
pub use screen::ScreenError;

#[cfg(test)]
mod tests;
