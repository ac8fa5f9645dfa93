//! The wire form in the browser is the native one, to the byte. The messages
//! and their bytes are those of the protocol's own tests; updates and steps of a model are
//! those that native code makes.

#[path = "../../../crates/protocol/tests/common/mod.rs"]
#[allow(dead_code, reason = "the protocol's own tests use more of it")]
mod common;

use std::fmt::Debug;

use bytes::Bytes;
use fedra_protocol::{ClientMessage, DecodeError, ServerMessage};
use fedra_wasm_tests::codecs::{HASHES, hashes};
use wasm_bindgen_test::wasm_bindgen_test;

const CLIENT: &str = include_str!("../../../crates/protocol/tests/golden/client.txt");
const SERVER: &str = include_str!("../../../crates/protocol/tests/golden/server.txt");

fn golden(file: &str) -> Vec<Bytes> {
    file.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (_, bytes) = line.split_once(' ').expect("a name and bytes");
            Bytes::from(hex::decode(bytes).expect("hexadecimal"))
        })
        .collect()
}

fn check<M: Debug + PartialEq>(
    messages: Vec<M>,
    golden: &[Bytes],
    encode: fn(&M) -> Bytes,
    decode: fn(Bytes) -> Result<M, DecodeError>,
) {
    assert_eq!(messages.len(), golden.len());
    for (message, bytes) in messages.into_iter().zip(golden) {
        assert_eq!(encode(&message), bytes, "{message:?}");
        assert_eq!(decode(bytes.clone()), Ok(message));
    }
}

#[wasm_bindgen_test]
fn the_clients_messages_are_the_native_ones() {
    check(common::client_messages(), &golden(CLIENT), ClientMessage::encode, ClientMessage::decode);
}

#[wasm_bindgen_test]
fn the_servers_messages_are_the_native_ones() {
    check(common::server_messages(), &golden(SERVER), ServerMessage::encode, ServerMessage::decode);
}

#[wasm_bindgen_test]
fn garbage_is_refused() {
    for bytes in [&[][..], &[0xff], &[0xff; 64], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let bytes = Bytes::from_static(bytes);
        assert!(ServerMessage::decode(bytes.clone()).is_err(), "{bytes:?}");
    }
}

#[wasm_bindgen_test]
fn updates_and_steps_in_each_codec_are_the_native_ones() {
    for (found, known) in hashes().iter().zip(HASHES) {
        assert_eq!((found.0, &*found.1), known);
    }
}
