//! A server that sends back every message, for Autobahn's cases: the wire layer and
//! next to nothing else. Prints where it listens, and goes on until it is killed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use tungstenite::handshake::derive_accept_key;
use wschat::ws::close::Close;
use wschat::ws::frame::{Opcode, put, put_close};
use wschat::ws::{Event, Inbound, Then};

/// More than the longest message of any case.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            // A client may go away at any time, and that is all that can go wrong.
            let _ = serve(stream);
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    open(&mut reader, &mut stream)?;
    let mut inbound = Inbound::default();
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = reader.read(&mut bytes)?;
        let (mut out, mut closed) = (Vec::new(), count == 0);
        let taken = inbound.take(&mut bytes[..count], MESSAGE_BYTES_MAX, |event| {
            match event {
                Event::Text(text) => put(Opcode::Text, text.as_bytes(), &mut out),
                Event::Binary(bytes) => put(Opcode::Binary, bytes, &mut out),
                Event::Ping(payload) => put(Opcode::Pong, payload, &mut out),
                Event::Pong => {}
                Event::Close(code) => {
                    put_close(&Close::answer(code), &mut out);
                    closed = true;
                }
            }
            Then::Continue
        });
        if let Err(close) = taken {
            put_close(&close, &mut out);
            closed = true;
        }
        stream.write_all(&out)?;
        if closed {
            stream.shutdown(Shutdown::Write)?;
            return io::copy(&mut reader, &mut io::sink()).map(drop);
        }
    }
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
