//! What clients do at a step.

use wschat::feed::Encoding;
use wschat::ws::close;
use wschat::ws::frame::client_frame;

use super::client::{Answers, Client, Closes, Reads, Sends, Step};
use super::world::World;

impl World {
    pub fn step(&mut self, id: u64, step: Step) {
        if !self.clients.contains_key(&id) {
            return;
        }
        match step {
            Step::Take => self.take(id),
            Step::Deliver => self.deliver(id),
            Step::Say => self.say(id),
            Step::Pong => self.send(id, &client_frame(0x8a, b"")),
            Step::Close => self.send_close(id),
            Step::End => self.end(id),
            Step::Reset => self.reset(id),
            Step::Break => self.break_a_rule(id),
        }
    }

    /// The client reads some of what the server wrote, and answers it.
    fn take(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let bytes_max = match client.kind.reads {
            Reads::Within(_) => usize::MAX,
            Reads::Bytes(per_sec) => per_sec / 50,
            Reads::Bits => self.rng.usize(1..400),
            Reads::Never => 0,
        };
        client.takes_soon = false;
        let (taken, tells) = client.pipe.borrow_mut().take(bytes_max);
        client.taken += taken as u64;
        let mut pings = 0;
        while client.received.pings.front().is_some_and(|end| *end <= client.taken) {
            client.received.pings.pop_front();
            pings += 1;
        }
        let closed = !client.saw_close
            && client.received.close.as_ref().is_some_and(|(.., end)| *end <= client.taken);
        client.saw_close |= closed;
        let kind = client.kind;
        if tells {
            self.report(id);
        }
        if let Answers::After(ms) = kind.answers {
            (0..pings).for_each(|_| self.plan_step(ms * 1000, id, Step::Pong));
        }
        if closed && kind.closes == Closes::Properly {
            if kind.encoding == Encoding::Frames {
                self.plan_step(1_000, id, Step::Close);
            }
            self.plan_step(2_000, id, Step::End);
        }
        // The rest is read later.
        self.traffic.borrow_mut().touched.push(id);
        self.look();
    }

    /// The network delivers some of what the client sent.
    fn deliver(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.delivers_soon = false;
        let mut pipe = client.pipe.borrow_mut();
        let space = Client::WINDOW_BYTES.saturating_sub(pipe.to_server.len());
        let most = client.unsent.len().min(space);
        let count = if most > 1 && self.rng.bool() { self.rng.usize(1..most) } else { most };
        pipe.to_server.extend(client.unsent.drain(..count));
        drop(pipe);
        if count > 0 {
            self.report(id);
            let in_us = self.rng.u64(1..5_000);
            self.deliver_soon(id, in_us);
        }
    }

    fn say(&mut self, id: u64) {
        if self.is_quiet {
            return;
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.sent_close || client.saw_close || client.ended {
            return;
        }
        let (bytes, in_ms) = match client.kind.sends {
            Sends::Nothing => return,
            Sends::Every { ms, bytes } => {
                let bytes = client_frame(0x81, client.message(bytes, self.now_us).as_bytes());
                (bytes, ms)
            }
            Sends::AllItMay { bytes } => {
                let burst = if client.sent == 0 { 60 } else { 1 };
                let mut all = Vec::new();
                // A client that cannot send creates no more messages.
                if client.unsent.len() < bytes * 60 {
                    for _ in 0..burst {
                        let text = client.message(bytes, self.now_us);
                        all.extend(client_frame(0x81, text.as_bytes()));
                    }
                }
                (all, 50)
            }
            Sends::Pings { ms } => (client_frame(0x89, b"are you there?"), ms),
            Sends::Anything { ms } => (client.anything(&mut self.rng, self.now_us), ms),
        };
        self.send(id, &bytes);
        self.plan_step(in_ms * 1000, id, Step::Say);
    }

    /// The client sends something.
    pub fn send(&mut self, id: u64, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.ended {
            return;
        }
        client.unsent.extend(bytes);
        let in_us = self.rng.u64(..1_000);
        self.deliver_soon(id, in_us);
    }

    fn send_close(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let again = client.kind.closes == Closes::AgainAndAgain;
        if client.sent_close && !again {
            return;
        }
        client.sent_close = true;
        let mut payload = Vec::new();
        close::GOING_AWAY.code.to_be_bytes().iter().for_each(|byte| payload.push(*byte));
        self.send(id, &client_frame(0x88, &payload));
        if again {
            self.plan_step(500_000, id, Step::Close);
        }
    }

    fn reset(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.ended = true;
        client.pipe.borrow_mut().reset = true;
        self.report(id);
    }

    fn break_a_rule(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.is_violator = true;
        let too_long = vec![b'x'; self.plan.limits.message_bytes_max + 1];
        let broken = match self.rng.u8(..4) {
            // A frame that is not masked.
            0 => b"\x81\x00".to_vec(),
            1 => client_frame(0x81, b"\xff"),
            2 => client_frame(0x81, &too_long),
            _ => client_frame(0x83, b""),
        };
        self.send(id, &broken.repeat(3));
    }

    /// The client ends its stream, after all that it has sent.
    fn end(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.ended = true;
        let mut pipe = client.pipe.borrow_mut();
        pipe.to_server.extend(client.unsent.drain(..));
        pipe.client_ended = true;
        drop(pipe);
        self.report(id);
    }
}
