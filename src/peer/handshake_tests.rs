use super::*;

/// The worked example of PROTOCOL.md.
const DOCUMENT: &str = include_str!("PROTOCOL.md");
const SECRET: &[u8] = b"correct horse battery staple";

fn nonce(first: u8) -> Nonce {
    std::array::from_fn(|i| first + i as u8)
}

fn welcome(mac: Option<Mac>) -> Welcome {
    Welcome {
        mac,
        verbs: false,
        tcp: true,
        max_transfer: 1 << 20,
        max_leases: 1,
        lease_ms: 1000,
        silence_ms: 1000,
        build: "0.1.0".into(),
    }
}

/// A whole handshake between two sides with these secrets.
fn shake(engine: Option<&[u8]>, target: Option<&[u8]>) -> Result<u16, HandshakeError> {
    let (opening, hello) = Opening::new(engine).unwrap();
    let (challenging, challenge) = Greeting::new(target).unwrap().greet(&hello)?;
    let (proving, proof) = opening.challenged(&challenge)?;
    proving.welcomed(&welcome(challenging.proved(&proof)?))
}

#[test]
fn sides_with_one_secret_and_sides_with_none_agree_on_a_version() {
    assert_eq!(shake(Some(SECRET), Some(SECRET)), Ok(VERSIONS.1));
    assert_eq!(shake(None, None), Ok(VERSIONS.1));
    let long = [7; 4096];
    assert_eq!(shake(Some(&long), Some(&long)), Ok(VERSIONS.1));
}

#[test]
fn a_wrong_secret_is_refused_by_the_target_before_it_proves_anything() {
    let wrong = HandshakeError::WrongProof(Side::Engine);
    assert_eq!(wrong.code(), Code::Unauthenticated);
    assert_eq!(shake(Some(b"guess"), Some(SECRET)), Err(wrong));
}

#[test]
fn a_target_that_does_not_know_the_secret_is_refused_by_the_engine() {
    let (opening, hello) = Opening::new(Some(SECRET)).unwrap();
    let (_, challenge) = Greeting::new(Some(b"guess"))
        .unwrap()
        .greet(&hello)
        .unwrap();
    let (proving, _) = opening.challenged(&challenge).unwrap();
    let guessed = welcome(Some(Mac([0; 32])));
    let wrong = Err(HandshakeError::WrongProof(Side::Target));
    assert_eq!(proving.welcomed(&guessed), wrong);
}

#[test]
fn a_secret_on_one_side_alone_is_refused_and_the_message_says_on_which() {
    let target_only = shake(None, Some(SECRET)).unwrap_err();
    assert_eq!(target_only, HandshakeError::LacksSecret(Side::Engine));
    assert!(
        target_only
            .to_string()
            .starts_with("the engine has no secret")
    );
    let engine_only = shake(Some(SECRET), None).unwrap_err();
    assert_eq!(engine_only, HandshakeError::LacksSecret(Side::Target));
    assert!(
        engine_only
            .to_string()
            .starts_with("the target has no secret")
    );
    assert_eq!(engine_only.code(), Code::Unauthenticated);
}

#[test]
fn an_engine_with_a_secret_gives_no_proof_to_a_target_that_says_it_has_none() {
    let (opening, _) = Opening::new(Some(SECRET)).unwrap();
    let challenge = Challenge {
        version: VERSIONS.1,
        nonce: nonce(1),
        secret: false,
    };
    let refused = opening.challenged(&challenge).unwrap_err();
    assert_eq!(refused, HandshakeError::LacksSecret(Side::Target));
}

#[test]
fn a_proof_that_is_missing_or_not_wanted_is_refused() {
    let challenging = |secret| {
        let (_, hello) = Opening::new(secret).unwrap();
        Greeting::new(secret).unwrap().greet(&hello).unwrap().0
    };
    let missing = challenging(Some(SECRET)).proved(&Proof { mac: None });
    assert_eq!(missing, Err(HandshakeError::NoProof(Side::Engine)));
    let unwanted = challenging(None).proved(&Proof {
        mac: Some(Mac([1; 32])),
    });
    assert_eq!(unwanted, Err(HandshakeError::UnwantedProof(Side::Engine)));

    let proving = |secret| {
        let (opening, hello) = Opening::new(secret).unwrap();
        let (_, challenge) = Greeting::new(secret).unwrap().greet(&hello).unwrap();
        opening.challenged(&challenge).unwrap().0
    };
    let missing = proving(Some(SECRET)).welcomed(&welcome(None));
    assert_eq!(missing, Err(HandshakeError::NoProof(Side::Target)));
    let unwanted = proving(None).welcomed(&welcome(Some(Mac([1; 32]))));
    assert_eq!(unwanted, Err(HandshakeError::UnwantedProof(Side::Target)));
}

#[test]
fn a_proof_of_another_connection_is_refused() {
    let (opening, hello) = Opening::new(Some(SECRET)).unwrap();
    let (first, challenge) = Greeting::new(Some(SECRET)).unwrap().greet(&hello).unwrap();
    let (_, proof) = opening.challenged(&challenge).unwrap();
    assert!(first.proved(&proof).is_ok());

    let (second, _) = Greeting::new(Some(SECRET)).unwrap().greet(&hello).unwrap();
    let replayed = second.proved(&proof);
    assert_eq!(replayed, Err(HandshakeError::WrongProof(Side::Engine)));
}

#[test]
fn a_welcome_of_another_connection_is_refused() {
    let (opening, hello) = Opening::new(Some(SECRET)).unwrap();
    let (challenging, challenge) = Greeting::new(Some(SECRET)).unwrap().greet(&hello).unwrap();
    let (proving, proof) = opening.challenged(&challenge).unwrap();
    let recorded = welcome(challenging.proved(&proof).unwrap());
    assert!(proving.welcomed(&recorded).is_ok());

    let (opening, _) = Opening::new(Some(SECRET)).unwrap();
    let (proving, _) = opening.challenged(&challenge).unwrap();
    let replayed = proving.welcomed(&recorded);
    assert_eq!(replayed, Err(HandshakeError::WrongProof(Side::Target)));
}

#[test]
fn a_proof_sent_back_to_its_sender_is_refused() {
    let (opening, hello) = Opening::new(Some(SECRET)).unwrap();
    let (_, challenge) = Greeting::new(Some(SECRET)).unwrap().greet(&hello).unwrap();
    let (proving, proof) = opening.challenged(&challenge).unwrap();
    let reflected = proving.welcomed(&welcome(proof.mac));
    assert_eq!(reflected, Err(HandshakeError::WrongProof(Side::Target)));
}

#[test]
fn a_nonce_sent_back_to_its_sender_is_refused() {
    let (opening, hello) = Opening::with_nonce(Some(SECRET), nonce(5));
    let challenge = Challenge {
        version: VERSIONS.1,
        nonce: nonce(5),
        secret: true,
    };
    let reflected = opening.challenged(&challenge).unwrap_err();
    assert_eq!(reflected, HandshakeError::Reflected);
    assert_eq!(reflected.code(), Code::Unauthenticated);
    let target = Greeting::with_nonce(Some(SECRET), nonce(5));
    assert_eq!(target.greet(&hello).unwrap_err(), HandshakeError::Reflected);
}

#[test]
fn nonces_are_new_for_every_connection() {
    let (_, one) = Opening::new(None).unwrap();
    let (_, other) = Opening::new(None).unwrap();
    assert_ne!(one.nonce, other.nonce);
    let challenge = || Greeting::new(None).unwrap().greet(&one).unwrap().1;
    assert_ne!(challenge().nonce, challenge().nonce);
}

#[test]
fn the_newest_common_version_is_spoken() {
    assert_eq!(common((1, 1), (1, 1)), Ok(1));
    assert_eq!(common((1, 4), (2, 3)), Ok(3));
    assert_eq!(common((2, 3), (1, 9)), Ok(3));
    assert_eq!(common((0, u16::MAX), (1, 1)), Ok(1));
}

#[test]
fn without_a_common_version_both_ranges_are_named() {
    let refused = common((3, 4), (1, 2)).unwrap_err();
    assert_eq!(refused.code(), Code::UnsupportedMessage);
    let message = refused.to_string();
    assert!(message.contains("the engine speaks 3 to 4"), "{message}");
    assert!(message.contains("the target 1 to 2"), "{message}");
    assert!(common((1, 2), (3, 4)).is_err());
    let backwards = common((4, 3), (1, 9)).unwrap_err();
    assert_eq!(backwards.code(), Code::MalformedMessage);
}

#[test]
fn a_version_that_was_not_offered_is_refused() {
    for chosen in [0, VERSIONS.1 + 1, u16::MAX] {
        let (opening, _) = Opening::new(None).unwrap();
        let refused = opening.challenged(&Challenge {
            version: chosen,
            nonce: nonce(1),
            secret: false,
        });
        assert_eq!(refused.unwrap_err().code(), Code::UnsupportedMessage);
    }
}

#[test]
fn a_hello_of_something_else_is_refused() {
    let (_, mut hello) = Opening::new(None).unwrap();
    hello.magic = "rdma-engine".into();
    let refused = Greeting::new(None).unwrap().greet(&hello).unwrap_err();
    assert_eq!(refused.code(), Code::MalformedMessage);
}

#[test]
fn the_secret_and_its_key_are_never_printed() {
    let secret: Option<&[u8]> = Some(SECRET);
    let (opening, hello) = Opening::new(secret).unwrap();
    let greeting = Greeting::new(secret).unwrap();
    let mut printed = format!("{opening:?} {greeting:?}");
    let (challenging, challenge) = greeting.greet(&hello).unwrap();
    let (proving, proof) = opening.challenged(&challenge).unwrap();
    printed += &format!("{challenging:?} {proving:?}");
    let _ = challenging.proved(&proof).unwrap();
    assert_eq!(printed.matches("Key(..)").count(), 4, "{printed}");
    assert!(!printed.contains("horse"), "{printed}");
    assert!(
        !printed.contains(&format!("{:?}", &SECRET[..8])[1..20]),
        "{printed}"
    );
}

#[test]
fn proofs_are_those_of_the_documents_example() {
    assert!(DOCUMENT.contains(&format!("`{}`", std::str::from_utf8(SECRET).unwrap())));
    let (opening, hello) = Opening::with_nonce(Some(SECRET), nonce(0));
    let greeting = Greeting::with_nonce(Some(SECRET), nonce(0x40));
    let (challenging, challenge) = greeting.greet(&hello).unwrap();
    let (proving, proof) = opening.challenged(&challenge).unwrap();
    let answer = challenging.proved(&proof).unwrap();
    assert_eq!(challenge.version, 1);
    let shown = [
        hello.nonce,
        challenge.nonce,
        proof.mac.unwrap().0,
        answer.unwrap().0,
    ];
    for bytes in shown {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert!(DOCUMENT.contains(&hex), "{hex} is not in the document");
    }
    assert_eq!(proving.welcomed(&welcome(answer)), Ok(1));
}
