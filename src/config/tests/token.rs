//! The token file.

use super::*;

/// Loads a configuration with the token file `text` of mode `mode`.
fn with_token(text: &[u8], mode: u32) -> Result<Config, String> {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let path = path.to_str().unwrap();
    let loaded = flags(&["--auth-token-file", path]).load();
    loaded.map_err(|error| error.replace(path, "token"))
}

#[test]
fn the_token_is_the_files_line_without_its_end() {
    for text in [&b"s3cret"[..], b"s3cret\n", b"s3cret\r\n"] {
        let token = with_token(text, 0o640).unwrap().auth_token.unwrap();
        assert!(token.matches("s3cret"));
        assert!(!token.matches("s3creT") && !token.matches("s3cret\n") && !token.matches(""));
    }
    let longest = [b't'; TOKEN_BYTES_MAX];
    with_token(&[&longest[..], b"\r\n"].concat(), 0o600).unwrap();
}

#[test]
fn a_token_everyone_can_read_or_write_is_refused() {
    for mode in [0o604, 0o602, 0o644] {
        assert_eq!(
            with_token(b"s3cret", mode).unwrap_err(),
            format!(
                "flag --auth-token-file: token: everyone on this host can read or write it (mode \
                 {mode:04o}); allowed: 0600 or 0640, so try chmod o-rw"
            )
        );
    }
}

#[test]
fn a_token_that_is_empty_too_long_or_no_single_line_is_refused() {
    for (text, problem) in [
        (&b""[..], "the token is empty"),
        (b"\n", "the token is empty"),
        (b"two\nlines\n", "the token contains control characters"),
        (b"\xff\xfe", "the token is not UTF-8"),
        (&[b't'; TOKEN_BYTES_MAX + 1], "the token is too long"),
        (&[b't'; 3 * TOKEN_BYTES_MAX], "the token is too long"),
    ] {
        assert_eq!(
            with_token(text, 0o600).unwrap_err(),
            format!(
                "flag --auth-token-file: token: {problem}; allowed: one line of 1 to 4096 bytes \
                 of UTF-8"
            )
        );
    }
    let error = flags(&["--auth-token-file", "/dev"]).error();
    assert_eq!(
        error,
        "flag --auth-token-file: /dev: is not a file; allowed: a file with the token in it"
    );
}

#[test]
fn the_token_is_never_printed() {
    let config = with_token(b"s3cret\n", 0o600).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(!config.to_toml().contains("s3cret"));
    assert!(config.to_toml().contains("auth_token_file = "));
}
