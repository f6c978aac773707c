//! Unknown keys, variables and flags, broken files.

use super::*;

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_known_ones() {
    for text in [
        "\n\nmax-sessions = 1",
        "\n\n[max-sessions]\nx = 1",
        "\n\nmax-sessions.x = 1",
    ] {
        let error = file(text).error();
        let start =
            "engine.toml:3: max-sessions: unknown key; allowed: device, device_port, gid_index,";
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn a_key_given_twice_and_a_syntax_error_are_refused_with_their_line() {
    let error = file("port = 1\n\nport = 2").error();
    assert_eq!(error, "engine.toml:3: duplicate key");
    let error = file("port = 1\ndebug = ").error();
    assert!(error.starts_with("engine.toml:2: "), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_refused_with_the_flag_or_variable_that_named_it() {
    let args = ServerArgs {
        config: Some(PathBuf::from("/nope")),
        ..ServerArgs::default()
    };
    let error = Config::load(&args, std::iter::empty())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("flag --config: reading the configuration /nope: "),
        "{error}"
    );
    let variable = ("RDMA_ENGINE_CONFIG".to_owned(), "/nope".to_owned());
    let error = Config::load(&ServerArgs::default(), [variable].into_iter()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("environment variable RDMA_ENGINE_CONFIG: reading"),
        "{error}"
    );
}

#[test]
fn an_unknown_or_wrong_variable_is_refused_with_its_name() {
    for name in [
        "RDMA_ENGINE_MAX_SESSION",
        "RDMA_ENGINE_max_sessions",
        "RDMA_ENGINE_",
    ] {
        let error = environment(&[(name, "1")]).error();
        let start =
            format!("environment variable {name}: unknown variable; allowed: RDMA_ENGINE_DEVICE, ");
        assert!(error.starts_with(&start), "{error}");
    }
    assert_eq!(
        environment(&[("RDMA_ENGINE_DEBUG", "1")]).error(),
        "environment variable RDMA_ENGINE_DEBUG: \"1\" is no boolean; allowed: true or false"
    );
    assert_eq!(
        environment(&[("RDMA_ENGINE_DEVICE", "\u{FFFD}")]).error(),
        "environment variable RDMA_ENGINE_DEVICE: is not UTF-8; allowed: UTF-8 text"
    );
}

#[test]
fn a_wrong_flag_is_refused_with_its_name() {
    assert_eq!(
        flags(&["--workers", "many"]).error(),
        "flag --workers: \"many\" is no integer; allowed: an integer from 1 to 256"
    );
    assert_eq!(
        flags(&["--port", "1", "--port", "2"]).error(),
        "flag --port: is given 2 times; allowed: an integer from 1 to 65535"
    );
}
