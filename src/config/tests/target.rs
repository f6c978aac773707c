//! The target's table, beside the engine's.

use super::*;
use crate::verbs::DeviceChoice;

/// The target's configuration when it is given `words` and a volume directory.
fn target(words: &[&str]) -> Result<TargetConfig, String> {
    let flags = &[&["--volumes", "/"], words].concat();
    Given {
        flags,
        ..Given::default()
    }
    .load_target()
}

#[test]
fn the_targets_defaults_let_it_run_beside_an_engine() {
    let config = target(&[]).unwrap();
    assert_eq!(config.listen, "127.0.0.1:18515".parse().unwrap());
    let metrics = config.metrics_listen.unwrap();
    assert_eq!(metrics, "127.0.0.1:9465".parse().unwrap());
    let engine = flags(&[]).load().unwrap();
    assert_ne!(engine.metrics_listen, Some(metrics));
    assert_eq!(engine.port, config.listen.port());
    assert!(engine.peer_keepalive < config.peer_timeout);

    assert_eq!(config.device, DeviceChoice::Auto);
    assert_eq!((config.device_port, config.gid_index), (None, None));
    assert_eq!(config.transport, TransportChoice::Auto);
    assert_eq!((config.max_peers, config.max_leases), (256, 256));
    assert_eq!(config.lease_timeout, Duration::from_secs(30));
    assert_eq!(config.peer_timeout, Duration::from_secs(30));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
    assert_eq!(
        (config.buffer_size, config.max_transfer_size),
        (1 << 30, 64 << 20)
    );
    assert_eq!(config.hugepages, Hugepages::Auto);
    assert!((1..=4).contains(&config.workers));
    assert!(!config.insecure && !config.debug && !config.direct_io);
    assert!(config.peer_secret.is_none() && config.index_dir.is_none());
}

#[test]
fn a_target_without_volumes_is_refused() {
    assert_eq!(
        flags(&[]).target_error(),
        "default: volumes: no directory is given; allowed: at least one, such as --volumes DIR"
    );
    assert_eq!(
        file("volumes = []").target_error(),
        "engine.toml:1: volumes: no directory is given; allowed: at least one, such as --volumes DIR"
    );
    let error = target(&["--volumes", "/nope"]).unwrap_err();
    assert!(
        error.starts_with("flag --volumes: /nope: No such file"),
        "{error}"
    );
}

#[test]
fn it_listens_on_an_address_and_beyond_this_host_only_with_a_secret_or_a_waiver() {
    for local in ["127.0.0.1:0", "127.1.2.3:1", "[::1]:18515"] {
        assert_eq!(
            target(&["--listen", local]).unwrap().listen.to_string(),
            local
        );
    }
    for beyond in ["0.0.0.0:18515", "[::]:18515", "10.0.0.1:0"] {
        assert_eq!(
            target(&["--listen", beyond]).unwrap_err(),
            format!(
                "flag --listen: {beyond} is not a loopback address and there is no \
                 peer_secret_file; allowed: with a peer_secret_file, or with insecure = true where \
                 everyone in the network is trusted"
            )
        );
        target(&["--listen", beyond, "--insecure"]).unwrap();
    }
    for wrong in ["off", "localhost:18515", "127.0.0.1", ":18515"] {
        assert_eq!(
            target(&["--listen", wrong]).unwrap_err(),
            format!(
                "flag --listen: {wrong:?} is no address and port; allowed: an address and port \
                 such as 127.0.0.1:18515 or [::1]:18515"
            )
        );
    }
}

#[test]
fn its_contradictions_are_refused_as_the_engines_are() {
    let error = target(&["--transport", "verbs", "-d", "none"]).unwrap_err();
    assert!(error.contains("contradicts device = \"none\""), "{error}");
    let sizes = ["--buffer-size", "8MiB", "--max-transfer-size", "8MiB"];
    let error = target(&sizes).unwrap_err();
    assert!(
        error.contains("contradicts buffer_size = \"8MiB\""),
        "{error}"
    );
}

#[test]
fn what_only_one_of_the_two_has_is_unknown_to_the_other() {
    let error = file("max_leases = 1").error();
    assert!(
        error.starts_with("engine.toml:1: max_leases: unknown key"),
        "{error}"
    );
    let error = file("max_sessions = 1").target_error();
    assert!(
        error.starts_with("engine.toml:1: max_sessions: unknown key"),
        "{error}"
    );
    let error = environment(&[("RDMA_ENGINE_IPC_SOCKET", "/s")]).target_error();
    assert!(
        error.contains(": unknown variable; allowed: RDMA_ENGINE_VOLUMES"),
        "{error}"
    );
}

#[test]
fn the_sidecars_variable_is_nothing_to_a_target() {
    let given = environment(&[
        ("RDMA_SOCKET_PATH", "/run/e.sock"),
        ("RDMA_ENGINE_VOLUMES", "/"),
        ("RDMA_ENGINE_MAX_PEERS", "65536"),
    ]);
    let config = given.load_target().unwrap();
    assert_eq!(config.max_peers, 65_536);
    let origin = config.origin("max_peers").to_string();
    assert_eq!(origin, "environment variable RDMA_ENGINE_MAX_PEERS");
}

#[test]
fn what_is_printed_yields_the_same_target_again() {
    let given = Given {
        flags: &[
            "--volumes",
            "/",
            "--listen",
            "[::1]:0",
            "-d",
            "rxe0",
            "--gid-index",
            "1",
        ],
        ..file("lease_timeout = \"1500ms\"\nmetrics_listen = \"off\"\nmax_leases = 9")
    };
    let first = given.load_target().unwrap();
    let printed = first.to_toml();
    let second = file(&printed).load_target().unwrap();
    assert_eq!(second.resolved.values(), first.resolved.values());
    assert!(
        printed.contains("listen = \"[::1]:0\"  # flag --listen\n"),
        "{printed}"
    );
    assert!(printed.contains("max_leases = 9  # "), "{printed}");
}
