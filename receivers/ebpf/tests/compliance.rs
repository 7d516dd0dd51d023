//! What is expected of every component, as far as it goes without a kernel that lets us in.

use component_test::Compliance;

#[test]
fn settings_comply() {
    Compliance::new(ebpf_receiver::factory(), env!("CARGO_MANIFEST_DIR")).check_settings();
}

/// Whatever this machine lacks, the check says so instead of failing.
#[test]
fn every_need_is_told_with_its_remedy() {
    let needs = ebpf_receiver::check();
    assert!(needs.iter().any(|it| it.is_required), "something is required");
    for need in needs {
        assert!(!need.found.is_empty() && !need.remedy.is_empty(), "{need:?}");
        assert!(!need.remedy.ends_with('.'), "{need:?}");
    }
}
