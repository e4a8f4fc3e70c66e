//! Tests of parsing and of judging.
