//! Policies (TOML): a policy that is read can be printed and read again.

#![no_main]

use adytum_evidence::policy::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(policy) = toml::from_str::<Policy>(text) else { return };
    assert_eq!(policy.clone().validated().as_ref(), Ok(&policy));
    let toml = toml::to_string(&policy).expect("a policy prints");
    assert_eq!(toml::from_str::<Policy>(&toml).as_ref(), Ok(&policy));
    let json = serde_json::to_string(&policy).expect("a policy prints");
    assert_eq!(serde_json::from_str::<Policy>(&json).expect("what is printed is read"), policy);
});
