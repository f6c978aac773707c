//! `rdma-engine check-config`, as an operator runs it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Output};

/// Runs it in `dir`, in an environment that holds nothing else.
fn check_config(dir: &Path, flags: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_rdma-engine"))
        .arg("check-config")
        .args(flags)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(dir)
        .output()
        .unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    (status.code().expect("an exit"), stdout, stderr)
}

#[test]
fn it_prints_each_value_with_its_origin_and_exits_with_0() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("engine.toml"),
        "\nmax_sessions = 7\nport = 8",
    )
    .unwrap();
    let environment = [
        ("RDMA_ENGINE_WORKERS", "3"),
        ("RDMA_SOCKET_PATH", "/run/e.sock"),
    ];
    let flags = ["-c", "engine.toml", "-p", "9", "--volumes", "."];
    let (code, printed, complaint) = check_config(dir.path(), &flags, &environment);
    assert_eq!((code, complaint.as_str()), (0, ""));
    for line in [
        "max_sessions = 7  # engine.toml:2",
        "port = 9  # flag --port",
        "workers = 3  # environment variable RDMA_ENGINE_WORKERS",
        "ipc_socket = \"/run/e.sock\"  # environment variable RDMA_SOCKET_PATH",
        "volumes = [\".\"]  # flag --volumes",
        "# index_dir is not set  # default",
        "session_timeout = \"300s\"  # default",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "no {line} in\n{printed}"
        );
    }

    std::fs::write(dir.path().join("printed.toml"), &printed).unwrap();
    let (code, again, _) = check_config(dir.path(), &["-c", "printed.toml"], &[]);
    assert_eq!(code, 0);
    let values = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.split("  # ").next().unwrap().to_owned());
        lines.collect()
    };
    assert_eq!(values(&again), values(&printed));
}

#[test]
fn it_says_what_is_wrong_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("engine.toml"),
        "debug = true\nmax_session = 7",
    )
    .unwrap();
    let (code, printed, complaint) = check_config(dir.path(), &["-c", "engine.toml"], &[]);
    assert_eq!((code, printed.as_str()), (2, ""));
    let start = "engine.toml:2: max_session: unknown key; allowed: device, ";
    assert!(complaint.starts_with(start), "{complaint}");

    let (code, _, complaint) = check_config(dir.path(), &["--device", "mlx5/0"], &[]);
    assert_eq!(code, 2);
    assert!(
        complaint.starts_with("flag --device: \"mlx5/0\" can not be a device's name"),
        "{complaint}"
    );

    let (code, _, complaint) = check_config(dir.path(), &[], &[("RDMA_ENGINE_WORKER", "3")]);
    assert_eq!(code, 2);
    assert!(
        complaint.starts_with("environment variable RDMA_ENGINE_WORKER: "),
        "{complaint}"
    );
}

#[test]
fn the_example_configuration_is_accepted() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config/engine.toml");
    let dir = tempfile::tempdir().unwrap();
    let (code, printed, complaint) = check_config(dir.path(), &["-c", config], &[]);
    assert_eq!((code, complaint.as_str()), (0, ""));
    let values = printed.lines();
    assert!(values.clone().count() > 20);
    assert!(
        values.clone().all(|line| line.ends_with("  # default")),
        "{printed}"
    );
}

#[test]
fn it_checks_the_targets_configuration_when_asked_for_it() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config/target.toml");
    let dir = tempfile::tempdir().unwrap();
    let flags = [
        "target",
        "-c",
        config,
        "--volumes",
        ".",
        "--listen",
        "[::1]:0",
    ];
    let environment = [("RDMA_ENGINE_MAX_LEASES", "9")];
    let (code, printed, complaint) = check_config(dir.path(), &flags, &environment);
    assert_eq!((code, complaint.as_str()), (0, ""));
    for line in [
        "volumes = [\".\"]  # flag --volumes",
        "listen = \"[::1]:0\"  # flag --listen",
        "max_leases = 9  # environment variable RDMA_ENGINE_MAX_LEASES",
        "max_peers = 256  # default",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "no {line} in\n{printed}"
        );
    }

    let (code, printed, complaint) = check_config(dir.path(), &["target"], &[]);
    assert_eq!((code, printed.as_str()), (2, ""));
    let start = "default: volumes: no directory is given";
    assert!(complaint.starts_with(start), "{complaint}");
    for of_both in [["-d", "none", "target"], ["target", "--ipc-socket", "s"]] {
        let (code, _, complaint) = check_config(dir.path(), &of_both, &[]);
        assert_eq!(code, 2, "{complaint}");
    }
}
