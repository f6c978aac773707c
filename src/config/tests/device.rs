//! The RDMA device, and the transports that want one.

use super::*;
use crate::verbs::DeviceChoice;

#[test]
fn a_device_is_named_chosen_or_none() {
    let device = |name: &str| flags(&["-d", name]).load().unwrap().device;
    assert_eq!(device("auto"), DeviceChoice::Auto);
    assert_eq!(device("none"), DeviceChoice::None);
    assert_eq!(device("mlx5_0"), DeviceChoice::Named("mlx5_0".to_owned()));
    let longest = "d".repeat(63);
    assert_eq!(device(&longest), DeviceChoice::Named(longest.clone()));
    let given = environment(&[
        ("RDMA_ENGINE_DEVICE_PORT", "255"),
        ("RDMA_ENGINE_GID_INDEX", "0"),
    ]);
    let config = given.load().unwrap();
    assert_eq!((config.device_port, config.gid_index), (Some(255), Some(0)));
    for wrong in ["", "Auto!", "a b", "é", &"d".repeat(64)] {
        let error = flags(&["-d", wrong]).error();
        let start = format!("flag --device: {wrong:?} can not be a device's name");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn verbs_without_a_device_is_a_contradiction() {
    let given = Given {
        flags: &["--device", "none"],
        ..file("transport = \"verbs\"")
    };
    assert_eq!(
        given.error(),
        "flag --device: transport = \"verbs\" (engine.toml:1) contradicts device = \"none\" (flag \
         --device); allowed: a device for verbs, or another transport"
    );
    for (device, transport) in [("none", "auto"), ("none", "tcp"), ("auto", "verbs")] {
        let words = ["--device", device, "--transport", transport];
        flags(&words).load().unwrap();
        flags(&[&words[..], &["--volumes", "/"]].concat())
            .load_target()
            .unwrap();
    }
}
