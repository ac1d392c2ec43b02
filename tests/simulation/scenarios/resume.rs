//! Listeners whose connections break at any byte, and which come back with the `tim` of a
//! message that they have.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::client::{Kind, LISTENER, Reads, Sends, Step};
use super::super::restart::Outcome;
use super::super::seeds::each_seed;
use super::super::tail_file::Left;
use super::super::totals::Totals;
use super::super::world::{Plan, World};
use wschat::chat::Tim;
use wschat::room::Start;

/// The listeners, each with its connection: `check_start` and `Received` check that what a
/// connection gets begins right behind what its listener had before.
struct Listeners {
    connections: BTreeMap<u32, (u64, Kind)>,
    /// The last message of each listener: the `tim` with which it comes back.
    last: BTreeMap<u32, Tim>,
}

/// The limits and the number of shards are those of the seed.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan { scratch_bytes: 64, pauses: 2, pause_ms_max: 40, ..Plan::default() };
    plan.shards = 1 + (seed % 3) as usize;
    plan.limits.feed_tail_bytes = [4_096, 65_536, 1 << 20][(seed / 3 % 3) as usize];
    plan.limits.message_bytes_max = 1_024;
    plan.limits.messages_per_sec = 0;
    plan.limits.resume = Duration::from_millis([300_000, 2_000, 0][(seed / 9 % 3) as usize]);
    plan
}

fn breaks_and_resumes(seed: u64) -> Totals {
    let mut world = World::new(seed, plan(seed));
    let mut listeners = Listeners { connections: BTreeMap::new(), last: BTreeMap::new() };
    for number in 0..12 {
        listeners.open(&mut world, number, Start::Live);
    }
    speakers(&mut world);
    for _ in 0..world.rng.u32(80..160) {
        listeners.event(&mut world);
        let ms = match world.rng.u8(..30) {
            0 => world.rng.u64(..20_000),
            _ => world.rng.u64(..60),
        };
        world.run_for(ms);
    }
    world.settle();
    world.finish()
}

/// A node that reads the stream more or less quickly. Its listeners come back to it with the
/// `tim` of a message that they have from here, or from another node, which may have read
/// further.
fn breaks_and_resumes_in_a_cluster(seed: u64) -> Totals {
    let mut world = World::new(seed, Plan { is_cluster: true, ..plan(seed) });
    let mut listeners = Listeners { connections: BTreeMap::new(), last: BTreeMap::new() };
    for number in 0..12 {
        listeners.open(&mut world, number, Start::Live);
    }
    for _ in 0..world.rng.u32(80..160) {
        listeners.event(&mut world);
        for _ in 0..world.rng.u32(..20) {
            if world.rng.bool() {
                world.publish_record();
            }
            let most = world.rng.usize(..3);
            world.read_records(most);
            let ms = world.rng.u64(..8);
            world.run_for(ms);
        }
        if world.rng.u8(..30) == 0 {
            let ms = world.rng.u64(..20_000);
            world.run_for(ms);
        }
    }
    while world.read_records(20) {
        world.run_for(100);
    }
    world.settle();
    world.finish()
}

fn speakers(world: &mut World) {
    if world.plan.is_cluster {
        return;
    }
    for _ in 0..3 {
        let (ms, bytes) = (world.rng.u64(5..400), world.rng.usize(30..900));
        world.join(Kind { sends: Sends::Every { ms, bytes }, ..LISTENER });
    }
}

impl Listeners {
    fn open(&mut self, world: &mut World, number: u32, start: Start) {
        let reads = match world.rng.u8(..8) {
            0 => Reads::Bits,
            1 => Reads::Bytes(world.rng.usize(100..100_000)),
            2 => Reads::Never,
            _ => Reads::Within(world.rng.u64(1..50)),
        };
        let socket_bytes = if world.rng.bool() { world.rng.usize(1..500) } else { 65_536 };
        let kind = Kind { reads, socket_bytes, ..LISTENER };
        let kind = if number.is_multiple_of(2) { kind } else { kind.of_events() };
        let address = Ipv4Addr::from_bits(0x0b00_0000 + number);
        let id = world.resume_from(kind, address, start);
        self.connections.insert(number, (id, kind));
    }

    fn event(&mut self, world: &mut World) {
        let number = world.rng.u32(..12);
        match world.rng.u8(..100) {
            0..40 => {
                self.cut(world, number);
                let start = self.start(world, number);
                self.open(world, number, start);
            }
            // All at once.
            40..44 => {
                (0..12).for_each(|number| self.cut(world, number));
                if world.rng.bool() {
                    let ms = world.rng.u64(..3_000);
                    world.run_for(ms);
                }
                for number in 0..12 {
                    let start = self.start(world, number);
                    self.open(world, number, start);
                }
            }
            44..50 => world.hand_over(Outcome::Whole),
            50..54 => {
                let left = [Left::Tail, Left::Tail, Left::DamagedTail, Left::Nothing];
                let count = if world.plan.is_cluster { 3 } else { left.len() };
                let left = left[world.rng.usize(..count)];
                (0..12).for_each(|number| self.note(world, number));
                world.crash(left);
                for number in 0..12 {
                    let start = self.start(world, number);
                    self.open(world, number, start);
                }
                speakers(world);
            }
            54..58 => {
                let resume = *world.rng.choice(&[0, 1_000, 300_000]).unwrap_or(&0);
                world.reload(|limits| limits.resume = Duration::from_millis(resume));
            }
            58..62 => world.kick(self.connections[&number].0),
            // The clock goes forward or back.
            62..65 => world.day_ms = world.rng.u64(..4_000),
            // Admitted listeners wait for their shard.
            65..70 => {
                let (shard, ms) = (world.rng.usize(..world.shards.len()), world.rng.u64(..2_000));
                world.pause(shard, ms);
            }
            70..80 => world.tell_presence(),
            _ => {}
        }
    }

    /// The connection breaks, at whatever byte it is.
    fn cut(&mut self, world: &mut World, number: u32) {
        let id = self.connections[&number].0;
        self.note(world, number);
        let step = if world.rng.bool() { Step::Reset } else { Step::End };
        world.step(id, step);
    }

    /// The listener remembers its last message, or an earlier one: what was on the way is lost.
    fn note(&mut self, world: &mut World, number: u32) {
        let Some(client) = world.clients.get(&self.connections[&number].0) else { return };
        let has = world.sent_feed.messages_before(client.received.position) as usize;
        let had = has - (client.received.messages as usize).min(has);
        if client.received.after.is_none() && has > had {
            let index = world.rng.usize(had..has);
            self.last.insert(number, world.sent_feed.tims[index]);
        }
    }

    /// With what the listener comes back.
    fn start(&self, world: &mut World, number: u32) -> Start {
        let nanos = world.now().tim.nanos();
        if world.plan.is_cluster && world.rng.u8(..3) == 0 && !world.stream.tims.is_empty() {
            let tims = &world.stream.tims;
            let from = tims.len().saturating_sub(100);
            return Start::After(tims[world.rng.usize(from..tims.len())].into());
        }
        match (world.rng.u8(..20), self.last.get(&number)) {
            (0, _) => Start::Live,
            (1, _) => Start::After(Tim::from_nanos(nanos + world.rng.u64(..2_000_000_000)).into()),
            (2, _) => Start::After(Tim::from_nanos(nanos - world.rng.u64(..9_000_000_000)).into()),
            (_, Some(tim)) => Start::After((*tim).into()),
            (_, None) => Start::Live,
        }
    }
}

#[test]
fn a_listener_that_comes_back_misses_nothing_without_a_gap() {
    each_seed(60, breaks_and_resumes, |totals| {
        totals.sent > 3_000 && totals.gaps > 60 && totals.hand_overs > 60
    });
}

#[test]
fn a_listener_that_comes_back_in_a_cluster_misses_and_repeats_nothing() {
    each_seed(40, breaks_and_resumes_in_a_cluster, |totals| {
        totals.messages > 20_000 && totals.gaps > 40 && totals.hand_overs > 40
    });
}
