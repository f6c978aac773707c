//! What a value may be, alone and beside the others.

use super::*;

#[test]
fn sizes_are_bytes_or_have_a_unit() {
    let size = |text: &str| {
        file(&format!("buffer_size = {text}"))
            .load()
            .unwrap()
            .buffer_size
    };
    assert_eq!(size("2097152"), 2 << 20);
    assert_eq!(size("\"2048KiB\""), 2 << 20);
    assert_eq!(size("\"2 MiB\""), 2 << 20);
    assert_eq!(size("\"4096GiB\""), 4 << 40);
    let config = flags(&["--buffer-size", "3GiB"]).load().unwrap();
    assert_eq!(config.buffer_size, 3 << 30);
    let config = environment(&[("RDMA_ENGINE_BUFFER_SIZE", "4194304")])
        .load()
        .unwrap();
    assert_eq!(config.buffer_size, 4 << 20);
}

#[test]
fn times_are_seconds_or_have_a_unit() {
    let time = |text: &str| {
        file(&format!("client_grace = {text}"))
            .load()
            .unwrap()
            .client_grace
    };
    assert_eq!(time("7"), Duration::from_secs(7));
    assert_eq!(time("0"), Duration::ZERO);
    assert_eq!(time("\"250us\""), Duration::from_micros(250));
    assert_eq!(time("\"1500ms\""), Duration::from_millis(1_500));
    assert_eq!(time("\"30s\""), Duration::from_secs(30));
    assert_eq!(time("\"5m\""), Duration::from_secs(300));
    assert_eq!(time("\"1h\""), Duration::from_secs(3_600));
    assert_eq!(
        flags(&["--client-grace", "9"]).load().unwrap().client_grace,
        Duration::from_secs(9)
    );
}

#[test]
fn a_wrong_unit_or_type_in_the_file_is_refused_with_the_line_and_what_is_allowed() {
    const SIZE: &str = "allowed: a multiple of 4096 from 1MiB to 4096GiB, in bytes or with a unit, \
                        KiB, MiB or GiB";
    const TIME: &str = "allowed: 100ms to 86400s, in seconds or with a unit, us, ms, s, m or h";
    for (line, problem) in [
        (
            "max_sessions = \"10\"",
            "\"10\" is of type string; allowed: an integer from 1 to 1000000",
        ),
        (
            "max_sessions = 1.5",
            "1.5 is of type float; allowed: an integer from 1 to 1000000",
        ),
        (
            "max_sessions = 0",
            "0 is out of range; allowed: an integer from 1 to 1000000",
        ),
        (
            "workers = true",
            "true is of type boolean; allowed: an integer from 1 to 256",
        ),
        (
            "buffer_size = \"1GB\"",
            &format!("\"1GB\" has no known unit; {SIZE}"),
        ),
        (
            "buffer_size = \"1048576\"",
            &format!("\"1048576\" has no unit; {SIZE}"),
        ),
        (
            "buffer_size = \"MiB\"",
            &format!("\"MiB\" does not begin with a whole number; {SIZE}"),
        ),
        (
            "buffer_size = 1_048_577",
            &format!("1048577 is not a multiple of 4096; {SIZE}"),
        ),
        (
            "buffer_size = 4096",
            &format!("4KiB is out of range; {SIZE}"),
        ),
        ("buffer_size = -1", &format!("-1 is out of range; {SIZE}")),
        (
            "buffer_size = \"99999999999GiB\"",
            &format!("\"99999999999GiB\" is out of range; {SIZE}"),
        ),
        (
            "session_timeout = \"5 min\"",
            &format!("\"5 min\" has no known unit; {TIME}"),
        ),
        (
            "session_timeout = \"5\"",
            &format!("\"5\" has no unit; {TIME}"),
        ),
        (
            "session_timeout = 0",
            &format!("0s is out of range; {TIME}"),
        ),
        (
            "debug = \"yes\"",
            "\"yes\" is no boolean; allowed: true or false",
        ),
        (
            "hugepages = \"always\"",
            "\"always\" is unknown; allowed: auto, require, never",
        ),
        (
            "device = \"mlx5/0\"",
            "\"mlx5/0\" can not be a device's name; allowed: auto, none, or a device's name \
             (rdma-engine devices lists them) of 1 to 63 letters, digits and _.-",
        ),
        (
            "device_port = 0",
            "0 is out of range; allowed: an integer from 1 to 255",
        ),
        (
            "gid_index = 256",
            "256 is out of range; allowed: an integer from 0 to 255",
        ),
        (
            "log_format = \"xml\"",
            "\"xml\" is unknown; allowed: text, json",
        ),
        (
            "client_series = 1001",
            "1001 is out of range; allowed: an integer from 0 to 1000",
        ),
        (
            "transport = \"rdma\"",
            "\"rdma\" is unknown; allowed: auto, verbs, tcp",
        ),
        (
            "completion_poll = 20",
            "20s is out of range; allowed: 0s to 10ms, in seconds or with a unit, us, ms, s, m or h",
        ),
        (
            "completion_poll = \"10001us\"",
            "10001us is out of range; allowed: 0s to 10ms, in seconds or with a unit, us, ms, s, m \
             or h",
        ),
        (
            "max_transfer_size = \"3MiB\"",
            "3MiB is not a power of two; allowed: a power of two from 4KiB to 512MiB, in bytes or \
             with a unit, KiB, MiB or GiB",
        ),
        (
            "metrics_listen = \"localhost\"",
            "\"localhost\" is no address and port; allowed: an address and port such as \
             127.0.0.1:9464 or [::1]:9464, or off",
        ),
        (
            "index_dir = \"\"",
            "the path is empty; allowed: a path of 1 to 4095 bytes",
        ),
    ] {
        let key = line.split(' ').next().unwrap();
        let expected = format!("engine.toml:2: {key}: {problem}");
        assert_eq!(file(&format!("\n{line}\n")).error(), expected);
    }
}

#[test]
fn a_list_must_be_an_array_of_the_right_items() {
    let error = file("volumes = \"/data\"").error();
    assert!(
        error.starts_with("engine.toml:1: volumes: \"/data\" is of type string"),
        "{error}"
    );
    let error = file("allowed_uids = [\n  1000,\n  -1,\n]").error();
    assert!(
        error.starts_with("engine.toml:1: allowed_uids: -1 is out of range"),
        "{error}"
    );
    assert!(
        error.contains("allowed: a list (in a file an array"),
        "{error}"
    );
}

#[test]
fn a_socket_path_that_does_not_fit_sun_path_is_refused() {
    let fits = format!("/{}", "s".repeat(106));
    flags(&["--ipc-socket", &fits]).load().unwrap();
    let error = flags(&["--ipc-socket", &format!("{fits}s")]).error();
    assert!(
        error.ends_with("is 108 bytes long; allowed: a path of 1 to 107 bytes"),
        "{error}"
    );
}

#[test]
fn the_largest_transfer_follows_the_pool_and_must_fit_twice() {
    let largest = |size: &str| {
        flags(&["--buffer-size", size])
            .load()
            .unwrap()
            .max_transfer_size
    };
    assert_eq!(largest("1MiB"), 256 << 10);
    assert_eq!(largest("100MiB"), 16 << 20);
    assert_eq!(largest("256MiB"), 64 << 20);
    assert_eq!(largest("8GiB"), 64 << 20);
    file("max_transfer_size = \"4MiB\"\nbuffer_size = \"8MiB\"")
        .load()
        .unwrap();
    assert_eq!(
        file("max_transfer_size = \"8MiB\"\nbuffer_size = \"8MiB\"").error(),
        "engine.toml:2: buffer_size: max_transfer_size = \"8MiB\" (engine.toml:1) \
         contradicts buffer_size = \"8MiB\" (engine.toml:2); allowed: a max_transfer_size of at most half of \
         buffer_size"
    );
    let given = Given {
        flags: &["--max-transfer-size", "8MiB"],
        ..file("buffer_size = \"8MiB\"")
    };
    assert_eq!(
        given.error(),
        "flag --max-transfer-size: max_transfer_size = \"8MiB\" (flag --max-transfer-size) \
         contradicts buffer_size = \"8MiB\" (engine.toml:1); allowed: a max_transfer_size of at most half of \
         buffer_size"
    );
}

#[test]
fn a_session_timeout_beyond_its_maximum_is_a_contradiction_unless_the_maximum_is_the_default() {
    let config = flags(&["--session-timeout", "7200"]).load().unwrap();
    assert_eq!(config.session_timeout_max, Duration::from_secs(7_200));
    assert_eq!(
        file("\nsession_timeout_max = 60").error(),
        "engine.toml:2: session_timeout_max: session_timeout = \"300s\" (default) \
         contradicts session_timeout_max = \"60s\" (engine.toml:2); allowed: a session_timeout of at most \
         session_timeout_max"
    );
}

#[test]
fn volumes_must_be_directories_that_exist_and_none_twice() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let [a, b, missing] = ["a", "b", "c"].map(|name| format!("{dir}/{name}"));
    std::fs::create_dir(&a).unwrap();
    std::fs::create_dir(&b).unwrap();
    let config = flags(&["--volumes", &a, "--volumes", &b, "--index-dir", &a])
        .load()
        .unwrap();
    assert_eq!(config.volumes, [Path::new(&a), Path::new(&b)]);
    assert_eq!(config.index_dir.as_deref(), Some(Path::new(&a)));
    let variable = format!("{a}:{b}");
    let config = environment(&[("RDMA_ENGINE_VOLUMES", &variable)])
        .load()
        .unwrap();
    assert_eq!(config.volumes, [Path::new(&a), Path::new(&b)]);

    let allowed = "allowed: a directory that exists and can be read";
    assert_eq!(
        flags(&["--volumes", &a, "--volumes", &missing]).error(),
        format!("flag --volumes: {missing}: No such file or directory (os error 2); {allowed}")
    );
    std::fs::write(&missing, "a file").unwrap();
    assert_eq!(
        file(&format!("volumes = [\"{a}\"]\nindex_dir = \"{missing}\"")).error(),
        format!("engine.toml:2: index_dir: {missing}: Not a directory (os error 20); {allowed}")
    );
    let again = format!("{a}/../a");
    assert_eq!(
        flags(&["--volumes", &a, "--volumes", &again]).error(),
        format!("flag --volumes: {again} is given twice; allowed: once")
    );
    let error = flags(&["--index-dir", &a]).error();
    assert!(
        error.ends_with("allowed: an index_dir only for volumes"),
        "{error}"
    );
}
