//! The client's session against a server, an owner and a network that may do
//! anything at any time. What drives it keeps to what the real driver does: one
//! socket, one piece of work, no message without a socket.

mod device;
mod wire;

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use fedra_edge_client::session::Event;
use fedra_protocol::{DecodeError, ServerMessage};

use device::Device;

/// A session's life: [task, owner's floors, (what happens)...].
pub fn client_session(data: &[u8]) {
    // Bytes that are too short for a case are none.
    let _ = life(&mut Unstructured::new(data));
}

fn life(input: &mut Unstructured<'_>) -> Result<()> {
    let mut device = Device::new(input)?;
    device.feed(Event::Start);
    while !input.is_empty() {
        step(input, &mut device)?;
        device.check();
    }
    device.feed(Event::Close);
    device.check();
    assert!(device.session.is_closed());
    Ok(())
}

/// One thing that happens. The likely ones have more numbers.
fn step(input: &mut Unstructured<'_>, device: &mut Device) -> Result<()> {
    match input.arbitrary::<u8>()? % 32 {
        0..=1 => device.network(input)?,
        2..=9 => {
            let message = wire::message(input, device)?;
            device.receive(message);
        }
        10 => arbitrary_message(input, device)?,
        11..=15 => device.work(input)?,
        16..=21 => {
            for _ in 0..input.int_in_range(1..=4)? {
                device.transmit();
            }
        }
        22..=24 => device.timer(),
        25 => device.now += Duration::from_millis(input.arbitrary::<u16>()?.into()),
        26 => device.stray(input)?,
        27 => device.pause(),
        28 => device.resume(),
        29 => device.consent(),
        30 => device.greet(),
        31 if input.arbitrary()? => device.toggle_disk(),
        31 => device.gets_data(input.arbitrary()?),
        _ if input.int_in_range(0..=15)? == 0 => device.feed(Event::Close),
        _ => {}
    }
    Ok(())
}

/// Bytes that may be a message: [length, bytes...].
fn arbitrary_message(input: &mut Unstructured<'_>, device: &mut Device) -> Result<()> {
    let length: u8 = input.arbitrary()?;
    let bytes = input.bytes(usize::from(length).min(input.len()))?;
    match ServerMessage::decode(bytes.to_vec().into()) {
        Ok(message) => device.receive(message),
        Err(error) => device.garbled(error),
    }
    Ok(())
}

impl Device {
    fn garbled(&mut self, error: DecodeError) {
        if self.is_open() {
            self.feed(Event::Garbled(error));
        }
    }
}
