//! Which layer wins.

use super::*;
use crate::verbs::DeviceChoice;

#[test]
fn the_defaults_are_those_deployed_set_ups_rely_on() {
    let config = flags(&[]).load().unwrap();
    assert_eq!(config.device, DeviceChoice::Auto);
    assert_eq!((config.device_port, config.gid_index), (None, None));
    assert_eq!(config.transport, TransportChoice::Auto);
    assert_eq!(config.peer_timeout, Duration::from_secs(5));
    assert_eq!(config.peer_keepalive, Duration::from_secs(2));
    assert_eq!(config.completion_poll, Duration::from_micros(20));
    assert!(config.peers.is_empty() && config.peer_secret.is_none() && !config.insecure);
    assert_eq!(config.port, 18_515);
    assert_eq!(config.max_sessions, 1_000);
    assert_eq!(config.session_timeout, Duration::from_secs(300));
    assert_eq!(config.session_timeout_max, Duration::from_secs(3_600));
    assert_eq!(config.buffer_size, 1_073_741_824);
    assert_eq!(config.max_transfer_size, 64 << 20);
    assert_eq!(config.ipc_socket, Path::new("/tmp/rdma-engine.sock"));
    assert_eq!(
        config.metrics_listen,
        Some("127.0.0.1:9464".parse().unwrap())
    );
    assert_eq!(config.hugepages, Hugepages::Auto);
    assert!((1..=4).contains(&config.workers));
    assert!(!config.debug && !config.direct_io);
    assert!(config.volumes.is_empty() && config.allowed_uids.is_empty());
    assert!(config.index_dir.is_none() && config.auth_token.is_none());
    assert_eq!(config.origin("max_sessions"), &Origin::Default);
}

#[test]
fn the_flags_deployed_set_ups_pass_are_taken() {
    let config = flags(&[
        "-d",
        "auto",
        "-p",
        "18515",
        "--max-sessions",
        "50",
        "--session-timeout",
        "60",
        "--buffer-size",
        "1073741824",
        "--ipc-socket",
        "/run/e.sock",
        "--debug",
    ]);
    let config = config.load().unwrap();
    assert_eq!(config.max_sessions, 50);
    assert_eq!(config.session_timeout, Duration::from_secs(60));
    assert_eq!(config.ipc_socket, Path::new("/run/e.sock"));
    assert!(config.debug);
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let mut given = file("# sessions\n\nmax_sessions = 2\n");
    let config = given.load().unwrap();
    assert_eq!(config.max_sessions, 2);
    let Origin::File { path, line: 3 } = config.origin("max_sessions") else {
        panic!("{:?}", config.origin("max_sessions"));
    };
    assert_eq!(path.file_name().unwrap(), "engine.toml");

    given.environment = &[("RDMA_ENGINE_MAX_SESSIONS", "3")];
    let config = given.load().unwrap();
    assert_eq!(config.max_sessions, 3);
    let origin = config.origin("max_sessions").to_string();
    assert_eq!(origin, "environment variable RDMA_ENGINE_MAX_SESSIONS");

    given.flags = &["--max-sessions=4"];
    let config = given.load().unwrap();
    assert_eq!(config.max_sessions, 4);
    assert_eq!(
        config.origin("max_sessions").to_string(),
        "flag --max-sessions"
    );
}

#[test]
fn a_flag_can_switch_off_what_the_file_switches_on() {
    let given = Given {
        flags: &["--debug=false"],
        ..file("debug = true\ndirect_io = true")
    };
    let config = given.load().unwrap();
    assert!(!config.debug);
    assert!(config.direct_io);
}

#[test]
fn what_a_flag_overrides_must_still_be_right() {
    let given = Given {
        flags: &["--port", "1"],
        ..file("port = 70000")
    };
    assert_eq!(
        given.error(),
        "engine.toml:1: port: 70000 is out of range; allowed: an integer from 1 to 65535"
    );
}

#[test]
fn variables_of_others_are_nobodys_business() {
    environment(&[("RDMA_DEVICE", "mlx5_0"), ("PATH", "/bin")])
        .load()
        .unwrap();
}

#[test]
fn the_socket_may_be_named_by_the_sidecars_variable_unless_it_contradicts_the_own_one() {
    let sidecars = ("RDMA_SOCKET_PATH", "/run/a.sock");
    let config = environment(&[sidecars]).load().unwrap();
    assert_eq!(config.ipc_socket, Path::new("/run/a.sock"));
    let own = ("RDMA_ENGINE_IPC_SOCKET", "/run/a.sock");
    let config = environment(&[sidecars, own]).load().unwrap();
    assert_eq!(config.ipc_socket, Path::new("/run/a.sock"));
    let own = ("RDMA_ENGINE_IPC_SOCKET", "/run/b.sock");
    assert_eq!(
        environment(&[sidecars, own]).error(),
        "environment variable RDMA_SOCKET_PATH: \"/run/a.sock\" contradicts \
         RDMA_ENGINE_IPC_SOCKET, \"/run/b.sock\"; allowed: one of them, or the same path"
    );
}

#[test]
fn an_empty_variable_empties_the_list_of_the_file() {
    let given = Given {
        environment: &[("RDMA_ENGINE_ALLOWED_UIDS", "")],
        ..file("allowed_uids = [1000]")
    };
    assert!(given.load().unwrap().allowed_uids.is_empty());
}
