//! A connection that comes back.

use std::time::Duration;

use aws_lc_rs::rand;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until};

use super::delay;
use crate::client::{Address, Event, Link, LinkError};

/// A connection that lasted so long was a good one: delays begin anew.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// What the screen asks of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send a message; forgotten if there is no connection.
    Send(String),
    /// Do not wait any longer before the next try.
    Retry,
}

/// What the connection tells the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A try has begun.
    Connecting,
    /// The room is open.
    Open,
    /// A message, as it came.
    Text(String),
    /// There is no connection, why, and when the next try comes.
    Lost(LinkError, Instant),
}

/// Connects, and connects again, until the screen is gone.
pub async fn run(address: Address, mut orders: Receiver<Order>, news: Sender<News>) {
    let mut tries = 0;
    while news.send(News::Connecting).await.is_ok() {
        let why = match Link::open(&address).await {
            Ok(link) => {
                let opened = Instant::now();
                let Some(why) = talk(link, &mut orders, &news).await else { return };
                if opened.elapsed() >= GOOD_AFTER {
                    tries = 0;
                }
                why
            }
            Err(why) => why,
        };
        let next = Instant::now() + delay(tries, chance());
        tries = tries.saturating_add(1);
        if news.send(News::Lost(why, next)).await.is_err() || !pause(next, &mut orders).await {
            return;
        }
    }
}

/// Carries messages both ways; why it ended, or nothing if the screen is gone.
async fn talk(
    mut link: Link,
    orders: &mut Receiver<Order>,
    news: &Sender<News>,
) -> Option<LinkError> {
    news.send(News::Open).await.ok()?;
    loop {
        tokio::select! {
            event = link.next() => match event {
                Event::Text(text) => news.send(News::Text(text)).await.ok()?,
                Event::Closed(why) => return Some(why),
            },
            order = orders.recv() => match order {
                Some(Order::Send(text)) => {
                    if let Err(why) = link.send(text).await {
                        return Some(why);
                    }
                }
                Some(Order::Retry) => {}
                None => {
                    link.close().await;
                    return None;
                }
            },
        }
    }
}

/// Waits until the time has come or somebody is impatient; `false` if the
/// screen is gone.
async fn pause(until: Instant, orders: &mut Receiver<Order>) -> bool {
    loop {
        tokio::select! {
            () = sleep_until(until) => return true,
            order = orders.recv() => match order {
                Some(Order::Retry) => return true,
                // It was typed before the screen knew; it will say so.
                Some(Order::Send(_)) => {}
                None => return false,
            },
        }
    }
}

fn chance() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the delay is the shortest, which does no harm.
    let _ = rand::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}
