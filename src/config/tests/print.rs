//! The configuration, printed, and the example.

use super::*;

#[test]
fn what_is_printed_yields_the_same_configuration_again() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a \"b\" # 'c'\\d\n é");
    std::fs::create_dir(&odd).unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    rustix::fs::chmod(&token, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let given = Given {
        file: "session_timeout = \"1500ms\"\nclient_grace = 0\nmetrics_listen = \"off\"",
        environment: &[("RDMA_ENGINE_ALLOWED_UIDS", "1000,4294967295")],
        flags: &[
            "-p",
            "1",
            "-d",
            "none",
            "--buffer-size",
            "1052672",
            "--debug",
            "--hugepages",
            "never",
            "--volumes",
            odd.to_str().unwrap(),
            "--index-dir",
            odd.to_str().unwrap(),
            "--auth-token-file",
            token.to_str().unwrap(),
        ],
    };
    let first = given.load().unwrap();
    let printed = first.to_toml();
    let second = file(&printed).load().unwrap();
    assert_eq!(second.values(), first.values());
    assert_eq!(second.volumes, [odd]);
    assert!(
        printed.contains("debug = true  # flag --debug\n"),
        "{printed}"
    );
    assert!(printed.contains("engine.toml:1\n"), "{printed}");
    assert!(
        printed.contains("buffer_size = \"1028KiB\"  # flag --buffer-size\n"),
        "{printed}"
    );
}

#[test]
fn an_origin_can_not_break_out_of_its_comment() {
    let origin = Origin::File {
        path: PathBuf::from("a\nport = 1"),
        line: 1,
    };
    assert_eq!(origin.to_string(), "a?port = 1:1");
}

#[test]
fn the_example_has_every_key_at_its_default() {
    let example = include_str!("../../../config/engine.toml");
    let default = file(example).load().expect("the example as it is");
    let keys: Vec<_> = default.values().into_iter().map(|(key, _)| key).collect();
    assert!(
        keys.iter()
            .all(|key| default.origin(key) == &Origin::Default)
    );

    // A line that begins with "#key" is a setting; prose has a space there.
    let settings = example.lines().filter_map(|line| line.strip_prefix('#'));
    let settings = settings.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let (unset, settings): (Vec<_>, Vec<_>) = settings.partition(|line| {
        let key = line.split(' ').next().unwrap();
        ["index_dir", "auth_token_file"].contains(&key)
    });
    assert_eq!(unset.len(), 2);
    assert_eq!(settings.len() + unset.len(), keys.len());
    let config = file(&settings.join("\n")).load().unwrap();
    // How many workers are the default depends on the machine.
    let comparable = |config: &Config| {
        let mut values = config.values();
        values.retain(|(key, _)| *key != "workers");
        values
    };
    assert_eq!(comparable(&config), comparable(&default));
}
