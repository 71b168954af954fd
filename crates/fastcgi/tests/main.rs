//! The codec against captured and hand-made conversations, the specification, random input and a fuzzing corpus.

mod corpus;
mod golden;
mod props;
mod sim;
mod spec;
mod support;
