//! Publishing: each record goes to the server once, in the order of the queue.

use std::str::FromStr;

use async_nats::header::HeaderName;
use async_nats::{HeaderMap, HeaderValue, Message, StatusCode};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::super::engine::{AwayReason, EngineEvent, Publish};
use super::api::PubAck;
use super::connect::Link;

/// The error code of an acknowledgement: the record could not be stored. Another server of the
/// stream may have stored it, so it is not certain that it was not.
const STORE_FAILED: u64 = 10077;

/// Publishes what is in its queue.
pub struct Publisher {
    stream: String,
    queue: mpsc::Receiver<Publish>,
    events: mpsc::Sender<EngineEvent>,
    /// An answer that was not told when the last future of this was dropped.
    untold: Option<(u64, Result<u64, String>)>,
}

impl Publisher {
    /// A publisher of the records in `queue` to `stream`.
    pub const fn new(
        stream: String,
        queue: mpsc::Receiver<Publish>,
        events: mpsc::Sender<EngineEvent>,
    ) -> Self {
        Self { stream, queue, events, untold: None }
    }

    /// Refuses all records while there is no connection: a client that is not connected would
    /// keep them, and send them too late. Ends when the queue is closed.
    pub async fn refuse(&mut self) {
        self.tell().await;
        while let Some(publish) = self.queue.recv().await {
            self.report(publish.number, Err("there is no connection".to_owned())).await;
        }
    }

    /// Publishes on a connection, until it is of no use.
    pub async fn publish(&mut self, link: &Link) -> AwayReason {
        self.tell().await;
        // One subscription for all answers: the last part of the subject is the number.
        let inbox = link.client.new_inbox();
        let Ok(mut answers) = link.client.subscribe(format!("{inbox}.*")).await else {
            return link.lost().await;
        };
        loop {
            tokio::select! {
                answer = answers.next() => match answer {
                    Some(answer) => {
                        if let Some((number, stored)) = acknowledgement(&answer) {
                            self.report(number, stored).await;
                        }
                    }
                    None => return link.lost().await,
                },
                publish = self.queue.recv() => match publish {
                    Some(publish) => {
                        let number = publish.number;
                        // So it is if the client has no room for it until the connection ends.
                        self.untold = Some((number, Err("the connection was lost".to_owned())));
                        let sent = self.send(link, &inbox, publish).await;
                        self.untold = sent.err().map(|why| (number, Err(why)));
                        self.tell().await;
                    }
                    // The engine ends.
                    None => return link.lost().await,
                },
            }
        }
    }

    /// Gives a record to the client. With an error it is certain that it was not sent.
    async fn send(&self, link: &Link, inbox: &str, publish: Publish) -> Result<(), String> {
        let Publish { number, headers, payload } = publish;
        let mut fields = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            fields.insert(HeaderName::from_static(name), value);
        }
        let (subject, reply) = (self.stream.clone(), format!("{inbox}.{number}"));
        let sent = link.client.publish_with_reply_and_headers(subject, reply, fields, payload);
        sent.await.map_err(|error| error.to_string())
    }

    async fn report(&mut self, number: u64, stored: Result<u64, String>) {
        self.untold = Some((number, stored));
        self.tell().await;
    }

    /// Tells the answer that was not told yet.
    async fn tell(&mut self) {
        if self.untold.is_none() {
            return;
        }
        // Without a receiver the engine ends.
        let Ok(permit) = self.events.reserve().await else { return };
        if let Some((number, stored)) = self.untold.take() {
            permit.send(EngineEvent::Acknowledged { number, stored });
        }
    }
}

/// What an answer says about which record; `None` if it does not say whether it was stored.
fn acknowledgement(answer: &Message) -> Option<(u64, Result<u64, String>)> {
    let number = answer.subject.rsplit('.').next()?.parse().ok()?;
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Some((number, Err("the stream has no leader".to_owned())));
    }
    let ack: PubAck = serde_json::from_slice(&answer.payload).ok()?;
    match ack.error {
        None => Some((number, Ok(ack.seq))),
        Some(error) if error.err_code == STORE_FAILED => None,
        Some(error) => Some((number, Err(error.description))),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// The connection comes back while the driver does not read.
    #[test]
    fn an_answer_outlives_the_future_that_tells_it() {
        let (publishes, queue) = mpsc::channel(2);
        let (sender, mut events) = mpsc::channel(1);
        sender.try_send(EngineEvent::Heartbeat).unwrap();
        let mut publisher = Publisher::new("room".into(), queue, sender);
        let publish = Publish { number: 7, headers: Vec::new(), payload: "x".into() };
        publishes.try_send(publish).unwrap();
        assert_eq!(publisher.refuse().now_or_never(), None);
        assert_eq!(events.try_recv(), Ok(EngineEvent::Heartbeat));
        assert!(events.try_recv().is_err());
        assert_eq!(publisher.refuse().now_or_never(), None);
        let stored = Err("there is no connection".to_owned());
        assert_eq!(events.try_recv(), Ok(EngineEvent::Acknowledged { number: 7, stored }));
    }

    #[test]
    fn what_an_answer_says() {
        let check = |status: Option<u16>, payload: &'static str, expected| {
            let answer = Message {
                subject: "_INBOX.room.abc.7".into(),
                reply: None,
                payload: payload.into(),
                headers: None,
                status: status.map(|status| status.try_into().unwrap()),
                description: None,
                length: 0,
            };
            assert_eq!(acknowledgement(&answer), expected, "{payload}");
        };
        let refused = |why: &str| Some((7, Err(why.to_owned())));
        check(None, r#"{"stream":"room","seq":12}"#, Some((7, Ok(12))));
        check(Some(503), "", refused("the stream has no leader"));
        let error = r#"{"error":{"code":400,"err_code":10054,"description":"too large"},"seq":0}"#;
        check(None, error, refused("too large"));
        let failed = r#"{"error":{"code":503,"err_code":10077,"description":"disk"},"seq":0}"#;
        check(None, failed, None);
        check(None, "", None);
        check(None, "x", None);
    }
}
