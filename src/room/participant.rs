//! A connection as the room knows it.

use std::sync::Arc;

use super::accounts::{Account, AccountKey};
use super::traffic::Traffic;
use crate::chat::{AddressBlock, Speaker};

/// The speaker of a connection, its account and what it has sent. A connection that only
/// listens has none of them, and this takes the space of a pointer.
#[derive(Default)]
pub struct Participant(Option<Box<ParticipantState>>);

#[derive(Default)]
struct ParticipantState {
    speaker: Speaker,
    account: Option<Arc<Account>>,
    traffic: Traffic,
}

impl Participant {
    /// A participant that continues with this speaker.
    pub fn resume(speaker: Speaker) -> Self {
        Self(Some(Box::new(ParticipantState { speaker, ..ParticipantState::default() })))
    }

    /// The speaker.
    pub fn speaker(&self) -> &Speaker {
        const NEW: &Speaker = &Speaker::NEW;
        self.0.as_ref().map_or(NEW, |state| &state.speaker)
    }

    /// The speaker, for a connection that has sent something.
    pub fn speaker_mut(&mut self) -> &mut Speaker {
        &mut self.0.get_or_insert_default().speaker
    }

    /// Whether it has sent something.
    pub fn is_sender(&self) -> bool {
        self.0.is_some()
    }

    /// What it has sent.
    pub fn traffic(&self) -> &Traffic {
        const NONE: &Traffic = &Traffic::NONE;
        self.0.as_ref().map_or(NONE, |state| &state.traffic)
    }

    /// What it has sent, for a connection that sends.
    pub fn traffic_mut(&mut self) -> &mut Traffic {
        &mut self.0.get_or_insert_default().traffic
    }

    /// The account of the speaker at this address. `find` gives the account if the
    /// speaker has another one than before.
    pub(super) fn account(
        &mut self,
        address: AddressBlock,
        find: impl FnOnce(&AccountKey) -> Arc<Account>,
    ) -> &Account {
        let ParticipantState { speaker, account, .. } = &mut **self.0.get_or_insert_default();
        let is_same = |key: &AccountKey| match (key, speaker.sub()) {
            (AccountKey::Sub(own), Some(sub)) => **own == *sub,
            (AccountKey::Address(own), None) => *own == address,
            _ => false,
        };
        drop(account.take_if(|account| !is_same(account.key())));
        account.get_or_insert_with(|| {
            let sub = speaker.sub().map(|sub| AccountKey::Sub(sub.into()));
            find(&sub.unwrap_or(AccountKey::Address(address)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{AuthSettings, RateLimit, Rules, Tim, TokenKey};
    use crate::room::accounts::Accounts;
    use jsonwebtoken::Algorithm;

    #[test]
    fn a_connection_that_only_listens_costs_a_pointer() {
        assert_eq!(size_of::<Participant>(), 8);
        let participant = Participant::default();
        assert_eq!((participant.speaker().name(), participant.speaker().sub()), ("", None));
        assert!(participant.0.is_none());
    }

    #[test]
    fn the_account_is_that_of_the_sub_or_of_the_address() {
        let (mut participant, accounts) = (Participant::default(), Accounts::default());
        let (here, there) = (AddressBlock([1; 16]), AddressBlock([2; 16]));
        let key = |participant: &mut Participant, address| {
            let find = |key: &AccountKey| accounts.account(key, 0, &RateLimit::default());
            participant.account(address, find).key().clone()
        };
        assert_eq!(key(&mut participant, here), AccountKey::Address(here));
        assert_eq!(key(&mut participant, there), AccountKey::Address(there));
        let secret = TokenKey::secret(None, Algorithm::HS256, b"a secret").unwrap();
        let token = secret.sign(&serde_json::json!({ "sub": "u7" })).unwrap();
        let text = format!(r#"{{"usr":"a","jwt":"{token}","msg":"b"}}"#);
        let settings = AuthSettings { keys: vec![secret], ..AuthSettings::default() };
        let with_token = Rules::new(settings, RateLimit::default());
        for (rules, want) in
            [(with_token, AccountKey::Sub("u7".into())), (Rules::open(), AccountKey::Address(here))]
        {
            let speaker = participant.speaker_mut();
            assert!(rules.admit(&text, None, speaker, Tim::default()).request.is_ok());
            assert_eq!(key(&mut participant, here), want);
        }
    }
}
