//! Peers that do not speak the protocol: the server closes on them in time, and everybody else notices nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use sotto_tests::sottod::Server;

use crate::town::{Town, texts};

/// Longer than the server may leave a hostile peer without an end, or it would have hung.
const PATIENCE: Duration = Duration::from_secs(90);

fn tcp(server: &Server) -> TcpStream {
    let address: SocketAddr = server.socket().parse().unwrap();
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A TLS connection with the server's first frame, the key chain, already read.
fn tls(server: &Server) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(sotto_client::tls::config().unwrap(), name).unwrap();
    let mut stream = StreamOwned::new(connection, tcp(server));
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut chain = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut chain).unwrap();
    stream
}

/// Reads until the server closes; fails if it does not.
fn expect_closed(mut stream: impl Read, what: &str) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert!(
            !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
            "{what}: the server does not close"
        ),
    }
    assert!(rest.len() < 4096, "{what}: answered with {} bytes", rest.len());
}

/// Length, kind and request id before a payload.
fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len() + 6).unwrap().to_be_bytes().to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend(7_u32.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What a hostile peer says after the TLS handshake, each of it a reason to close.
fn provocations() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a length of 4 GiB", vec![0xff; 4]),
        ("a length above the limit before login", (16 * 1024 + 1_u32).to_be_bytes().to_vec()),
        ("a length too short for a header", 3_u32.to_be_bytes().to_vec()),
        ("text", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ]
}

#[test]
fn hostile_peers_are_closed_and_nobody_else_notices() {
    let town = Town::new().unwrap();
    let (alice, bob) = (town.person("alice").unwrap(), town.person("bob").unwrap());
    let recv = bob.start(&["recv", "--follow"], "").unwrap();
    alice.ok(&["send", "@bob", "before", "--wait", "delivered"]).unwrap();

    let silent: Vec<TcpStream> = (0..50).map(|_| tcp(&town.server)).collect();
    let mut plain = tcp(&town.server);
    plain.write_all(&[0x41; 4000]).unwrap();
    expect_closed(plain, "no TLS");
    let mut half = Vec::new();
    for (what, bytes) in provocations() {
        let mut stream = tls(&town.server);
        stream.write_all(&bytes).unwrap();
        expect_closed(stream, what);
        let mut stream = tls(&town.server);
        stream.write_all(&frame(1, b"")[..5]).unwrap();
        half.push(stream);
    }
    alice.ok(&["send", "@bob", "meanwhile", "--wait", "delivered"]).unwrap();
    drop((silent, half));
    alice.ok(&["send", "@bob", "after", "--wait", "delivered"]).unwrap();
    drop(recv);
    assert_eq!(texts(&bob.history("@alice").unwrap()), ["before", "meanwhile", "after"]);
}

#[test]
fn garbage_in_a_frame_is_answered_or_closed_but_never_harms() {
    let town = Town::new().unwrap();
    let mut random: Vec<u8> =
        (0..4000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for kind in (0..64).chain([0x0fff, 0x1000, 0x1001, 0x1002, 0x2000, 0xffff]) {
        let mut stream = tls(&town.server);
        random.rotate_left(usize::from(kind) % 61);
        // The server may close at the first; then the second finds nobody.
        let _ = stream.write_all(&frame(kind, &random[..usize::from(kind) * 3 % 200]));
        let _ = stream.write_all(&frame(kind, b""));
        let _ = stream.flush();
    }
    town.person("alice").unwrap().ok(&["users"]).unwrap();
    assert!(!town.server.log().to_lowercase().contains("panic"), "{}", town.server.log());
}
