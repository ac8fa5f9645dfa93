//! The decoders of both directions: what decodes is within every bound, so it
//! encodes and decodes to the same message.

use bytes::Bytes;
use fedra_protocol::limits::MAX_MESSAGE_BYTES;
use fedra_protocol::{ClientMessage, EncodedDataSpec, ServerMessage};

/// One WebSocket message as the aggregator gets it.
pub fn client_message(data: &[u8]) {
    if let Ok(message) = ClientMessage::decode(Bytes::copy_from_slice(data)) {
        let encoded = message.encode();
        assert!(encoded.len() <= MAX_MESSAGE_BYTES, "a message that could not be sent");
        assert_eq!(ClientMessage::decode(encoded), Ok(message));
    }
}

/// One WebSocket message as a client gets it.
pub fn server_message(data: &[u8]) {
    match ServerMessage::decode(Bytes::copy_from_slice(data)) {
        Ok(message) => {
            let encoded = message.encode();
            assert!(encoded.len() <= MAX_MESSAGE_BYTES, "a message that could not be sent");
            if let ServerMessage::CheckedIn(checked_in) = &message {
                description(checked_in.task.data.as_ref());
            }
            assert_eq!(ServerMessage::decode(encoded), Ok(message));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A task's description of its data as a client that reads files gets it.
fn description(encoded: Option<&EncodedDataSpec>) {
    match encoded.map(EncodedDataSpec::decode) {
        Some(Ok(data)) => assert_eq!(data.encoded().decode(), Ok(data)),
        Some(Err(error)) => assert!(!error.to_string().is_empty()),
        None => {}
    }
}
