//! The engine's side of the handshake, on a connection.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use super::codec::{HANDSHAKE_FRAME_BYTES_MAX, encode};
use super::conn::{Conn, Lost};
use super::handshake::{HandshakeError, Opening};
use super::message::{FromEngine, FromTarget, Welcome};
use super::stream::Stream;

/// Makes sure of each other over a socket that is connected, until `given_up` is over. A send that
/// makes no progress for `patience` ends the connection.
///
/// # Errors
/// When there is nobody, or nobody who may be talked to.
pub async fn connect(
    socket: std::net::TcpStream,
    secret: Option<&[u8]>,
    patience: Duration,
    given_up: impl Future<Output = ()> + 'static,
) -> Result<Rc<Conn>, Lost> {
    let stream = Stream::new(socket, patience).map_err(|e| Lost(e.to_string()))?;
    let stream = Rc::new(stream);
    // A read that has begun is not given up but ended from outside.
    let watched = Rc::clone(&stream);
    let watch = tokio_uring::spawn(async move {
        given_up.await;
        watched.shut_down();
    });
    let welcome = shake_hands(&stream, secret).await;
    watch.abort();
    let welcome = welcome.map_err(|error| {
        let late = stream.is_shut();
        stream.shut_down();
        if late {
            return Lost(format!("the handshake was not over within {patience:?}"));
        }
        error
    })?;
    Ok(Conn::new(welcome, stream))
}

async fn shake_hands(stream: &Stream, secret: Option<&[u8]>) -> Result<Welcome, Lost> {
    let wrong = |e: HandshakeError| Lost(format!("the handshake failed: {e}"));
    let other = |wanted, got: FromTarget| match got {
        FromTarget::Refused(refused) => Lost(format!(
            "it refused the connection: {}: {}",
            refused.code, refused.message
        )),
        got => wrong(HandshakeError::OutOfTurn {
            wanted,
            got: got.kind(),
        }),
    };
    let (opening, hello) =
        Opening::new(secret).map_err(|e| Lost(format!("drawing a nonce: {e}")))?;
    say(stream, &FromEngine::Hello(hello)).await?;
    let challenge = match hear(stream).await? {
        FromTarget::Challenge(challenge) => challenge,
        got => return Err(other("Challenge", got)),
    };
    let (proving, proof) = opening.challenged(&challenge).map_err(wrong)?;
    say(stream, &FromEngine::Proof(proof)).await?;
    let welcome = match hear(stream).await? {
        FromTarget::Welcome(welcome) => welcome,
        got => return Err(other("Welcome", got)),
    };
    proving.welcomed(&welcome).map_err(wrong)?;
    Ok(welcome)
}

async fn say(stream: &Stream, message: &FromEngine) -> Result<(), Lost> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    stream.write(bytes).await?;
    Ok(())
}

async fn hear(stream: &Stream) -> Result<FromTarget, Lost> {
    let bytes = stream.frame(Vec::new(), HANDSHAKE_FRAME_BYTES_MAX).await?;
    FromTarget::decode(&bytes).map_err(|e| Lost(format!("it sent nonsense: {e}")))
}
