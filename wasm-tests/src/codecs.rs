//! Updates and steps of a model in each codec, with fixed seeds, hashed: what a browser has
//! encoded a server decodes, and both go to the same model by a step, to the bit.

use bytes::Bytes;
use fedra_aggregation::codec::{Codec, UpdateShape, ValueCodec};
use fedra_aggregation::{CheckedUpdate, Step};
use fedra_protocol::{CodecName, SentShare, Sha256Hash, UpdateRange};

/// Result of [`hashes`] on every platform.
pub const HASHES: [(&str, &str); 8] = [
    ("f32", "848ee47eec574c22abb810e6598197042af279bc4721d852c6eb78d683924506"),
    ("f16", "0235c6dafc2c3df36327bccefbc02e7e897ba854292d7cfe5c0fae0cb9740584"),
    ("int8", "948c59a2419eace1718034be21c61a02fb4fa2a5ceb9b9122c57be84805fec24"),
    ("int4", "2652c5fbbc71d7ef6ab73179a3cb784ed671a58359a5eaf125673585f3a61430"),
    ("eden2", "d38913451279b2d0187cd04f1fcfeb7acedd87b1f0d10745ba6f507cfaefedc6"),
    ("eden1", "56a10bb909587b01c7ab255ab411042c02a4aeb9a8faee2ba1c466f0f29c5819"),
    ("topk", "0b6d4e3ff4dacc164cbc09db1952c52c13837d2dff559db418a00acd470d38f3"),
    ("stc", "fcc186f58cc47f5c91fa423d9a250a2830a4b75c17b69228ae3880fe161c63f6"),
];

/// Numbers of values: of one that is rotated whole, and of more than a block with a rest.
const LENGTHS: [usize; 3] = [1, 1000, 70_001];

/// The codecs of [`HASHES`], each with the hash of updates that were encoded and decoded in
/// it, and of steps that were made and taken.
///
/// # Panics
///
/// If a codec does not work on this platform.
pub fn hashes() -> Vec<(&'static str, String)> {
    HASHES.iter().map(|(name, _)| (*name, hash(name))).collect()
}

fn hash(name: &str) -> String {
    let range = UpdateRange::new(1).expect("a power of two");
    let share = SentShare::new(20_000).expect("a fiftieth");
    let name = CodecName::named(name).expect("a codec");
    let name = name.with_share(share).unwrap_or(name);
    let mut bytes = Vec::new();
    for (number, len) in (1..).zip(LENGTHS) {
        let codec = Codec::new(Some(name), UpdateShape::Values { len, range });
        let codec = codec.expect("a codec of values");
        let (form, seed) = (codec.values().expect("a codec of values"), [number; 32]);
        update(&codec, form, &values(len, 1), &seed, &mut bytes);
        steps(&codec, form, values(len, 2), range.magnitude(), &seed, &mut bytes);
    }
    Sha256Hash::of(&bytes).to_string()
}

/// Encodes and decodes an update.
fn update(
    codec: &Codec,
    form: &dyn ValueCodec,
    update: &[f32],
    seed: &[u8; 32],
    bytes: &mut Vec<u8>,
) {
    let encoded = form.encode(update, seed);
    bytes.extend(&encoded);
    let decoded = CheckedUpdate::parse(encoded.into(), codec).expect("it was just made");
    extend(bytes, &decoded.to_vec().expect("a codec of values"));
}

/// Makes steps as a server does, and takes them as a client does.
fn steps(
    codec: &Codec,
    form: &dyn ValueCodec,
    mut server: Vec<f32>,
    most: f32,
    seed: &[u8; 32],
    bytes: &mut Vec<u8>,
) {
    let (mut client, mut residual) = (server.clone(), Vec::new());
    for round in 3..5 {
        let wanted = values(server.len(), round);
        let step = Step::towards(&wanted, &server, &residual, form, most, seed);
        let step = step.expect("the values are finite");
        let sent = CheckedUpdate::parse(Bytes::from(step.bytes), codec).expect("it was just made");
        sent.add_to(&mut client).expect("a codec of values");
        (server, residual) = (step.parameters, step.residual);
        assert!(client.iter().map(|v| v.to_bits()).eq(server.iter().map(|v| v.to_bits())));
        extend(bytes, &server);
        extend(bytes, &residual);
    }
}

/// Values from -0.5 to 0.5, most of them small.
fn values(len: usize, seed: u32) -> Vec<f32> {
    let value = |i: u32| {
        let mixed = (i ^ seed.rotate_left(20)).wrapping_mul(0x9e37_79b1);
        let even = ((mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca77) >> 8) as f32;
        let even = even / 16_777_216.0 - 0.5;
        4.0 * even * even * even
    };
    (0..len as u32).map(value).collect()
}

fn extend(bytes: &mut Vec<u8>, values: &[f32]) {
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
