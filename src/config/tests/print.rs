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
            "rxe0",
            "--device-port",
            "2",
            "--transport",
            "verbs",
            "--completion-poll",
            "0",
            "--peer",
            "localhost",
            "--peer",
            "b=[::1]:7",
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
    assert_eq!(second.resolved.values(), first.resolved.values());
    assert_eq!(second.peers, first.peers);
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

type Values = Vec<(&'static str, Option<toml::Value>)>;

/// How many workers are the default depends on the machine, and where volumes are on the operator.
fn comparable(mut values: Values) -> Values {
    values.retain(|(key, _)| !["workers", "volumes"].contains(key));
    values
}

/// Each line of an example that is a setting, the `unset` ones apart from those at the default.
fn settings_of(example: &str, unset: &[&str]) -> (String, usize) {
    // A line that begins with "#key" is a setting; prose has a space there.
    let settings = example.lines().filter_map(|line| line.strip_prefix('#'));
    let settings = settings.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let (without, settings): (Vec<_>, Vec<_>) =
        settings.partition(|line| unset.contains(&line.split(' ').next().unwrap()));
    assert_eq!(without.len(), unset.len());
    (settings.join("\n"), settings.len() + without.len())
}

const UNSET: [&str; 5] = [
    "index_dir",
    "device_port",
    "gid_index",
    "peer_secret_file",
    "histogram_buckets",
];

#[test]
fn the_example_has_every_key_at_its_default() {
    let example = include_str!("../../../config/engine.toml");
    let default = file(example).load().expect("the example as it is");
    let values = default.resolved.values();
    assert!(
        values
            .iter()
            .all(|(key, _)| default.origin(key) == &Origin::Default)
    );

    let unset = [&UNSET[..], &["auth_token_file"]].concat();
    let (settings, count) = settings_of(example, &unset);
    assert_eq!(count, values.len());
    let config = file(&settings).load().unwrap();
    assert_eq!(comparable(config.resolved.values()), comparable(values));
}

#[test]
fn the_targets_example_has_every_key_at_its_default_and_names_a_directory_to_change() {
    let example = include_str!("../../../config/target.toml");
    let volumes = "\nvolumes = [\"/var/lib/seaweedfs/volumes\"]\n";
    let example = &example.replace(volumes, "\nvolumes = [\"/\"]\n");
    let default = file(example).load_target().expect("the example as it is");
    let values = default.resolved.values();
    let given = |key: &str| default.origin(key) != &Origin::Default;
    let given: Vec<_> = values.iter().filter(|(key, _)| given(key)).collect();
    assert!(matches!(given.as_slice(), [("volumes", _)]), "{given:?}");

    let (settings, count) = settings_of(example, &UNSET);
    assert_eq!(count + 1, values.len());
    let settings = format!("{settings}\nvolumes = [\"/\"]");
    let config = file(&settings).load_target().unwrap();
    assert_eq!(comparable(config.resolved.values()), comparable(values));
}
