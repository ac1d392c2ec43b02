//! A server that sends every message back, for the cases of Autobahn: it tests the
//! module `ws` and little else. It prints its address and runs until it is killed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use tungstenite::handshake::derive_accept_key;
use wschat::ws::close::Close;
use wschat::ws::frame::{Opcode, put, put_close};
use wschat::ws::{Decoder, Event, Violation};

/// More than the longest message of any case.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            // The only possible error is a client that closes its connection.
            let _ = serve(stream);
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    open(&mut reader, &mut stream)?;
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = reader.read(&mut buffer)?;
        let mut out = Vec::new();
        let close = answer(&mut decoder, &mut buffer[..count], &mut out);
        let close = close.unwrap_or_else(|violation| Some(violation.close));
        if let Some(close) = &close {
            put_close(close, &mut out);
        }
        stream.write_all(&out)?;
        if close.is_some() || count == 0 {
            stream.shutdown(Shutdown::Write)?;
            return io::copy(&mut reader, &mut io::sink()).map(drop);
        }
    }
}

/// Appends the answers to `bytes`; returns the close frame that ends the connection.
fn answer(
    decoder: &mut Decoder,
    mut bytes: &mut [u8],
    out: &mut Vec<u8>,
) -> Result<Option<Close>, Violation> {
    while let Some(event) = decoder.next(&mut bytes, MESSAGE_BYTES_MAX)? {
        match event {
            Event::Text(text) => put(Opcode::Text, text.as_bytes(), out),
            Event::Binary(bytes) => put(Opcode::Binary, bytes, out),
            Event::Ping(payload) => put(Opcode::Pong, payload, out),
            Event::Pong | Event::Fragment => {}
            Event::Close(code) => return Ok(Some(Close::answer(code))),
        }
    }
    Ok(None)
}

/// The server's side of the opening handshake.
fn open(reader: &mut impl BufRead, stream: &mut TcpStream) -> io::Result<()> {
    let mut key = String::new();
    for line in reader.lines() {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("sec-websocket-key") => {
                key = derive_accept_key(value.as_bytes());
            }
            None if line.is_empty() => break,
            _ => {}
        }
    }
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {key}\r\n\r\n"
    )
}
