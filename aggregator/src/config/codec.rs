//! Codecs of a task: of its updates, and of the steps of its models.

use fedra_aggregation::{Codec, UpdateShape};
use fedra_coordinator::settings::PrivacySettings;
use fedra_protocol::{CodecName, UpdateRange};

use super::section::Section;
use super::value;

/// The values of `codec`, which is for values in the clear only, and of `codec_share`.
pub(super) fn of_updates(
    section: &Section<'_>,
    parameters: usize,
    range: UpdateRange,
    privacy: Option<&PrivacySettings>,
) -> Codec {
    let encoding = privacy.and_then(|privacy| privacy.derived.encoding());
    let shape = UpdateShape::new(parameters, range, encoding);
    let name = codec_name(section, "codec", "codec_share");
    Codec::new(name, shape).unwrap_or_else(|misfit| {
        section.mistake("codec", format!("{misfit}; leave the key out, or the policy"));
        Codec::standard(shape)
    })
}

/// The values of `model_codec` and of `model_codec_share`.
pub(super) fn of_models(
    section: &Section<'_>,
    parameters: usize,
    range: UpdateRange,
) -> Option<Codec> {
    let name = codec_name(section, "model_codec", "model_codec_share")?;
    if name == CodecName::F32 {
        let problem = "a step of float32 is as long as the model; take another codec, or leave \
                       the key out";
        section.mistake("model_codec", problem);
    }
    Codec::new(Some(name), UpdateShape::Values { len: parameters, range }).ok()
}

/// The codec of the key `codec`, with the share of the key `share`.
fn codec_name(
    section: &Section<'_>,
    codec: &'static str,
    share: &'static str,
) -> Option<CodecName> {
    let name = section.optional(codec, value::codec);
    let value = section.optional(share, value::sent_share);
    let shared = name.zip(value).and_then(|(name, value)| name.with_share(value));
    if value.is_some() && shared.is_none() {
        let problem = format!(
            "only for {codec} = \"topk\" and \"stc\"; set one of them, or leave the key out"
        );
        section.mistake(share, problem);
    }
    shared.or(name)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::{SMALL, mistakes};

    #[test]
    fn models_may_travel_as_steps_in_a_codec() {
        let codec = |keys: &str| {
            let config = Config::from_toml(&format!("{SMALL}{keys}")).expect("valid");
            let codec = config.tasks[0].settings.model_codec.clone();
            codec.map(|codec| (codec.name().name(), codec.bounds().bytes.most()))
        };
        assert_eq!(codec(""), None);
        assert_eq!(codec("model_codec = \"f16\"\n"), Some(("f16", 2 * 7_850)));
        let (_, hundredth) = codec("model_codec = \"stc\"\n").expect("a codec");
        let tenth = codec("model_codec = \"stc\"\nmodel_codec_share = 0.1\n").expect("a codec");
        assert!(tenth.0 == "stc" && tenth.1 > 5 * hundredth, "{tenth:?}");
        // Words of a policy are those of the updates, not of the models.
        let policy = "model_codec = \"int4\"\n[task.privacy]\npolicy = \"local\"\nepsilon = 1e9\n\
                      delta = 1e-5\nclipping_norm = 1.0\nnoise_multiplier = 0.05\n";
        assert_eq!(codec(policy).expect("a codec").0, "int4");
        for (keys, expected) in [
            ("model_codec = \"f32\"\n", "model_codec: a step of float32 is as long as the model"),
            ("model_codec = \"packed\"\n", "model_codec: \"packed\" is not known"),
            (
                "model_codec = \"int8\"\nmodel_codec_share = 0.1\n",
                "model_codec_share: only for model_codec = \"topk\" and \"stc\"",
            ),
            ("model_codec_share = 0.1\n", "model_codec_share: only for model_codec"),
        ] {
            let found = mistakes(&format!("{SMALL}{keys}"));
            assert!(found[0].starts_with(&format!("task[tiny].{expected}")), "{found:?}");
        }
    }

    #[test]
    fn an_update_has_the_length_of_its_codec() {
        let length = |codec: &str| {
            let config = Config::from_toml(&format!("{SMALL}{codec}")).expect("valid");
            config.tasks[0].settings.codec.bounds().bytes.most()
        };
        // 7850 values are five blocks: down to 512, and 170 that are filled up to 256.
        let rotated = |bits| 8 + 5 * 4 + (7_680 + 256) * bits / 8;
        for (name, bits) in [("int8", 8_u64), ("int4", 4), ("eden2", 2), ("eden1", 1)] {
            assert_eq!(length(&format!("codec = {name:?}\n")), rotated(bits), "{name}");
        }
        let (topk, stc) = (length("codec = \"topk\"\n"), length("codec = \"stc\"\n"));
        assert!(stc < topk && topk < 7_850 / 25);
        assert_eq!(length("codec = \"topk\"\ncodec_share = 0.01\n"), topk);
        assert!(length("codec = \"topk\"\ncodec_share = 0.1\n") > 8 * topk);
        for share in ["0", "0.6", "1e-9", "\"all\""] {
            let found = mistakes(&format!("{SMALL}codec = \"topk\"\ncodec_share = {share}\n"));
            assert!(found[0].contains("codec_share: must be"), "{found:?}");
        }
        for codec in ["", "codec = \"int8\"\n"] {
            let found = mistakes(&format!("{SMALL}{codec}codec_share = 0.01\n"));
            let expected = "task[tiny].codec_share: only for codec = \"topk\" and \"stc\"";
            assert!(found[0].starts_with(expected), "{found:?}");
        }
    }
}
