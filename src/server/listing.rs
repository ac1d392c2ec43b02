//! Lists the clients of all shards, and what the addresses send.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::oneshot;

use crate::chat::AddressBlock;
use crate::mutex::lock;
use crate::room::{TrafficRates, TrafficTotals};
use crate::server::client_filter::ClientFilter;
use crate::server::client_list::ClientRow;
use crate::server::client_page::{Page, PageSelection};
use crate::server::pool::ShardPool;
use crate::server::shard::command::ShardCommand;
use crate::server::shard::connection::FeedState;
use crate::server::top_list::{AddressRow, AddressSum, TopKey};

impl ShardPool {
    /// How many clients meet the filter of `page`, and those of them on the page. The shards are
    /// asked twice, for the order and for the rows, because a list of all rows could take as
    /// much memory as the room itself. A client that stays is listed once, at its position.
    pub async fn clients(&self, page: &Page) -> (usize, Vec<ClientRow>) {
        let mut selection = PageSelection::new(page);
        let all = self.for_each_client(|client| selection.add(&client)).await;
        let total = if page.filter.is_empty() { all } else { selection.matches() };
        (total, self.rows(selection.positions()).await)
    }

    /// The addresses and the clients that are first in this order, at most `limit` of each.
    pub async fn top(&self, key: TopKey, limit: usize) -> (Vec<AddressRow>, Vec<ClientRow>) {
        let page = Page {
            key: key.into(),
            reverse: false,
            offset: 0,
            limit,
            filter: ClientFilter::default(),
        };
        let mut selection = PageSelection::new(&page);
        let mut addresses = HashMap::<AddressBlock, AddressSum>::new();
        self.for_each_client(|client| {
            selection.add(&client);
            let sum = addresses.entry(client.address.block()).or_default();
            sum.clients += 1;
            sum.lagging += usize::from(client.state == FeedState::Lagging);
            sum.behind_bytes = sum.behind_bytes.max(client.behind_bytes);
        })
        .await;
        for (address, totals, rates) in self.traffic().await {
            let sum = addresses.entry(address).or_default();
            sum.totals.merge(&totals);
            sum.rates.merge(&rates);
        }
        let now_ms = self.shared().now_ms();
        for (address, rejected) in lock(&self.shared().rejected).iter() {
            let sum = addresses.entry(address).or_default();
            sum.refused_connections = rejected.totals().refused;
            sum.refused_connections_per_sec = rejected.rates(now_ms).refused_per_sec;
        }
        (AddressRow::first(key, addresses, limit), self.rows(selection.positions()).await)
    }

    /// The clients with these ids, in the order of their positions.
    async fn rows(&self, mut positions: HashMap<u64, usize>) -> Vec<ClientRow> {
        let mut clients = BTreeMap::new();
        self.for_each_client(|client| {
            if let Some(position) = positions.remove(&client.id) {
                clients.insert(position, client);
            }
        })
        .await;
        clients.into_values().collect()
    }

    /// Calls `each` for every client, for some perhaps twice, and returns how many there are.
    /// Each shard lists a chunk between two of its turns, so that a long list does not delay
    /// the room.
    async fn for_each_client(&self, mut each: impl FnMut(ClientRow)) -> usize {
        let mut total = 0;
        for mailbox in &self.shared().mailboxes {
            let mut before = usize::MAX;
            while before > 0 {
                let (answer, chunk) = oneshot::channel();
                mailbox.send(ShardCommand::List { before, answer });
                // A shard that panics ends the process.
                let Ok(chunk) = chunk.await else { break };
                if before == usize::MAX {
                    total += chunk.before + chunk.clients.len();
                }
                chunk.clients.into_iter().for_each(&mut each);
                before = chunk.before;
            }
        }
        total
    }

    /// What the addresses have sent, each perhaps several times: once for each shard, and
    /// once for what has not reached one.
    async fn traffic(&self) -> Vec<(AddressBlock, TrafficTotals, TrafficRates)> {
        let now_ms = self.shared().now_ms();
        let mut all: Vec<_> = lock(&self.shared().refused_posts)
            .iter()
            .map(|(address, it)| (address, it.totals(), it.rates(now_ms)))
            .collect();
        for mailbox in &self.shared().mailboxes {
            let (answer, addresses) = oneshot::channel();
            mailbox.send(ShardCommand::Traffic(answer));
            all.extend(addresses.await.unwrap_or_default());
        }
        all
    }
}
