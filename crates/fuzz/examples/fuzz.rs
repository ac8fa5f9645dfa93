//! libFuzzer around the target that `FEDRA_FUZZ_TARGET` names. Built and run by
//! `cargo xtask fuzz`, which also turns coverage on.

#![no_main]

use std::env;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fedra_fuzz::Target> = OnceLock::new();

fn chosen() -> fedra_fuzz::Target {
    let name = env::var("FEDRA_FUZZ_TARGET").expect("FEDRA_FUZZ_TARGET names the target");
    fedra_fuzz::target(&name).expect("FEDRA_FUZZ_TARGET names a target of this build")
}

fuzz_target!(
    init: TARGET.get_or_init(chosen),
    |data| (TARGET.get_or_init(chosen).run)(data)
);
