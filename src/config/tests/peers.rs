//! Where peers are, and what it takes to talk to them.

use super::*;

fn peer(name: &str, host: &str, port: u16) -> PeerAddress {
    PeerAddress {
        name: name.to_owned(),
        host: host.to_owned(),
        port,
    }
}

/// The engine's peers when it is given `texts`, each as a flag.
fn peers(texts: &[&str]) -> Result<Vec<PeerAddress>, String> {
    let words: Vec<String> = texts.iter().map(|text| format!("--peer={text}")).collect();
    let given = ["--insecure", "-p", "7000"].into_iter();
    let flags: &Vec<&str> = &given.chain(words.iter().map(String::as_str)).collect();
    Given {
        flags,
        ..Given::default()
    }
    .load()
    .map(|config| config.peers)
}

#[test]
fn a_peer_is_a_host_with_or_without_a_port_and_a_name() {
    for (text, expected) in [
        ("node1", peer("node1:7000", "node1", 7_000)),
        ("Node1:1", peer("node1:1", "node1", 1)),
        ("a-b_c.d:65535", peer("a-b_c.d:65535", "a-b_c.d", 65_535)),
        ("10.0.0.1", peer("10.0.0.1:7000", "10.0.0.1", 7_000)),
        ("[::1]", peer("[::1]:7000", "::1", 7_000)),
        ("[FD00:0::1]:9", peer("[fd00::1]:9", "fd00::1", 9)),
        ("rack.1:[x]-_=node1:9", peer("rack.1:[x]-_", "node1", 9)),
    ] {
        assert_eq!(peers(&[text]).unwrap(), [expected]);
    }
    let longest = format!("{}=h", "n".repeat(PEER_NAME_BYTES_MAX));
    peers(&[&longest]).unwrap();
    let long_host = format!("n={}", ["l".repeat(63), "l".repeat(63)].join("."));
    peers(&[&long_host]).unwrap();
}

#[test]
fn a_peer_that_is_none_is_refused_with_what_is_wrong() {
    let long_name = "n".repeat(PEER_NAME_BYTES_MAX + 1);
    let long_host = format!("{}.example", "h".repeat(60));
    let too_long = "h".repeat(64);
    let problems = [
        (
            "names no host",
            &[
                "", ":1", "a b", "-a", "a..b", "a.", "10.1", "a.256", "b c", "::1", &too_long,
            ][..],
        ),
        (
            "has no port from 1 to 65535 at its end",
            &[
                "a:0", "a:+1", "a:65536", "a:", "a:1:1", "http://a", "fd00::1", "[::1]7", "[::1]:",
            ],
        ),
        (
            "has no IPv6 address in its brackets",
            &["[a]", "[]", "[127.0.0.1]:1", "[::1%lo]"],
        ),
        ("is too long to be a name, so it needs one", &[&long_host]),
    ];
    for (problem, texts) in problems {
        for text in texts {
            let error = peers(&[text]).unwrap_err();
            let start = format!("flag --peer: {text:?} {problem}; allowed: a list (");
            assert!(error.starts_with(&start), "{error}");
        }
    }
    for name in ["", "a b", "é", &long_name] {
        let error = peers(&[&format!("{name}=a")]).unwrap_err();
        let start = format!("flag --peer: {name:?} can not name a peer; allowed: a list (");
        assert!(error.starts_with(&start), "{error}");
    }
    for (text, address) in [("a=", ""), ("a=b=c", "b=c")] {
        let error = peers(&[text]).unwrap_err();
        let start = format!("flag --peer: {address:?} names no host; ");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn peers_are_a_list_in_every_layer() {
    let expected = [peer("a", "localhost", 18_515), peer("[::1]:8", "::1", 8)];
    let in_file = file("peers = [\"a=localhost\", \"[::1]:8\"]");
    let config = in_file.load().unwrap();
    assert_eq!(config.peers, expected);
    assert_eq!(
        config.origin("peers").to_string().rsplit(':').next(),
        Some("1")
    );
    let config = environment(&[("RDMA_ENGINE_PEERS", "a=localhost,[::1]:8")]);
    assert_eq!(config.load().unwrap().peers, expected);
    let config = flags(&["--peer", "a=localhost", "--peer", "[::1]:8"]);
    let config = config.load().unwrap();
    assert_eq!(config.peers, expected);
    assert_eq!(config.origin("peers").to_string(), "flag --peer");
}

#[test]
fn two_peers_of_one_name_or_address_and_too_many_are_refused() {
    assert_eq!(
        peers(&["a=x", "a=y"]).unwrap_err(),
        "flag --peer: two are named a; allowed: a name of its own for each"
    );
    assert_eq!(
        peers(&["a=x", "b=X:7000"]).unwrap_err(),
        "flag --peer: x:7000 is given twice; allowed: once"
    );
    let hosts: Vec<String> = (0..=PEERS_MAX).map(|n| format!("host{n}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    assert_eq!(peers(&hosts[1..]).unwrap().len(), PEERS_MAX);
    assert_eq!(
        peers(&hosts).unwrap_err(),
        "flag --peer: 65 are given; allowed: at most 64"
    );
}

/// The file of a secret, and the directory that goes with it.
fn secret(mode: u32) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "5ecret\n").unwrap();
    rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(mode)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn peers_beyond_this_host_want_a_secret_unless_that_is_waived() {
    for local in [
        "127.0.0.1",
        "127.9.9.9:1",
        "[::1]",
        "localhost",
        "LOCALHOST:1",
    ] {
        flags(&["--peer", local]).load().unwrap();
    }
    let (_dir, secret) = secret(0o600);
    for beyond in [
        "10.0.0.1",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "localhost.evil",
    ] {
        let words = ["--peer", "[::1]", "--peer", beyond];
        let error = flags(&words).error();
        assert!(
            error.starts_with("flag --peer: ")
                && error
                    .contains(":18515 is not a loopback address and there is no peer_secret_file"),
            "{error}"
        );
        flags(&[&words[..], &["--insecure"]].concat())
            .load()
            .unwrap();
        let with_secret = &[&words[..], &["--peer-secret-file", &secret]].concat();
        let config = flags(with_secret).load().unwrap();
        assert_eq!(config.peer_secret.unwrap().as_bytes(), b"5ecret");
    }
}

#[test]
fn the_peers_secret_is_held_to_what_the_token_is() {
    let (_dir, path) = secret(0o644);
    assert_eq!(
        flags(&["--peer-secret-file", &path]).error(),
        format!(
            "flag --peer-secret-file: {path}: everyone on this host can read or write it (mode \
             0644); allowed: 0600 or 0640, so try chmod o-rw"
        )
    );
    std::fs::write(&path, "").unwrap();
    rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let error = flags(&["--volumes", "/", "--peer-secret-file", &path]).target_error();
    assert!(
        error.contains(": the secret is empty; allowed: one line"),
        "{error}"
    );
}
