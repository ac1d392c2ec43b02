//! The stream that orders the messages of a room on several machines. This node only listens:
//! all messages are those of other nodes.

use wschat::chat::{Actor, ModAction, SERVER_NAME, Tim, stamp};
use wschat::feed::{EncodedMessages, Position, StreamMark};
use wschat::room::{ActReply, RemoteOrder, Submission};

use super::world::World;

/// The records so far.
#[derive(Default)]
pub struct Stream {
    records: Vec<Record>,
    /// The `tim` of each message.
    pub tims: Vec<Tim>,
    /// How many records the feed has, and which bytes it must have.
    read: usize,
    pub bytes: Vec<u8>,
}

struct Record {
    messages: EncodedMessages,
    mark: StreamMark,
}

/// Nobody sends anything.
#[derive(Debug)]
pub struct NoSenders;

impl RemoteOrder for NoSenders {
    fn submit(&self, _: Vec<Submission>) {
        panic!("all clients listen");
    }

    fn submit_act(&self, _: ModAction, _: Actor, _: ActReply) {
        panic!("nobody acts");
    }
}

impl World {
    /// Other nodes publish a record, perhaps without messages.
    pub fn publish_record(&mut self) {
        let time = Tim::from_nanos(1_700_000_000_000_000_000 + self.now_us * 1000);
        let (count, mut messages) = (self.rng.usize(..6), EncodedMessages::default());
        for _ in 0..count {
            let (number, bytes) = (self.stream.tims.len(), self.rng.usize(..900));
            let text = format!(
                r#"{{"usr":"{SERVER_NAME}","msg":"{number} {}","tim":"{}"}}"#,
                "x".repeat(bytes),
                Tim::default()
            );
            messages.push(|out| out.extend(text.into_bytes()));
        }
        let mut last = self.stream.tims.last().copied().unwrap_or_default();
        messages.stamp(|text| {
            last = time.max(Tim::from_nanos(last.nanos() + 1));
            stamp(text, last);
            self.stream.tims.push(last);
        });
        let sequence = self.stream.records.len() as u64 + 1;
        let position = Position { created: 5, sequence };
        let mark = StreamMark { position, tim: last, newest: time };
        self.stream.records.push(Record { messages, mark });
    }

    /// The node reads up to so many records. Returns whether there are more.
    pub fn read_records(&mut self, most: usize) -> bool {
        self.check_stream();
        for _ in 0..most {
            let read_to = self.room.stream_mark().map_or(0, |mark| mark.position.sequence);
            let stream = &mut self.stream;
            let Some(record) = stream.records.get(read_to as usize) else { break };
            if !self.room.gate().may_append_or_wait() {
                break;
            }
            stream.read += 1;
            stream.bytes.extend_from_slice(record.messages.bytes());
            self.room.append_ordered(&record.messages, record.mark);
        }
        self.shards.iter_mut().for_each(|shard| shard.woken = true);
        self.look();
        self.stream.read < self.stream.records.len()
    }

    /// The process has crashed: the feed lacks what the tail file lacks.
    pub fn cut_stream(&mut self) {
        if !self.plan.is_cluster {
            return;
        }
        self.stream.bytes.clone_from(&self.sent_feed.bytes);
        self.check_stream();
    }

    /// The place in the stream is that of the last record whose messages the feed has.
    fn check_stream(&self) {
        let read_to = self.room.stream_mark().map_or(0, |mark| mark.position.sequence as usize);
        assert_eq!(read_to, self.stream.read, "each record is read once");
        let (feed, stream) = (&self.sent_feed.bytes, &self.stream.bytes);
        assert!(feed == stream, "{} bytes are sent, {} were read", feed.len(), stream.len());
    }
}
