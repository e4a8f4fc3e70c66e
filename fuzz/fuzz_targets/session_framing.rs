//! The length prefix before each message of an attested session.

#![no_main]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use adytum_ratls::handshake::message::{MAXIMUM_RESULT_LENGTH, read_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut stream = bytes;
    let read = {
        let reading = pin!(read_message(&mut stream, "SessionResult", MAXIMUM_RESULT_LENGTH));
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => read,
            Poll::Pending => panic!("a slice is always ready"),
        }
    };
    if let Ok(message) = read {
        assert!(message.len() <= MAXIMUM_RESULT_LENGTH);
        let prefix = u32::try_from(message.len()).expect("bounded");
        // The prefix, the message, and not a byte of what follows.
        assert_eq!([&prefix.to_be_bytes()[..], &message, stream].concat(), bytes);
    }
});
