//! A message: from the client's JSON text to the text that everybody gets.
//!
//! What the client wrote stays as it wrote it: names and values are slices of
//! its text, and only what is between them is left out.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_bytes::ByteBuf;
use serde_json::value::RawValue;

use super::name::{looks, shown};
use super::refusal::Refusal;
use super::tim::Tim;

/// The name under which the server speaks, and nobody else.
pub const NAME_OF_SERVER: &str = "wschat";

/// Levels of nesting that a message may have; its own braces are the first.
pub const DEPTH_MAX: usize = 64;

/// How every text for listeners ends; the zeros are where [`stamp`] writes.
pub(super) const TIM_LAST: &str = "\"tim\":\"0000-00-00T00:00:00.000000000Z\"}";

/// What follows the time in [`TIM_LAST`]: a quote and a brace.
const AFTER_TIM: usize = 2;

/// Writes `tim` over the placeholder at the end of an encoded message.
///
/// A text that is too short to have one is left alone.
pub fn stamp(text: &mut [u8], tim: Tim) {
    let place = text.len().checked_sub(AFTER_TIM).and_then(|end| text.get_mut(..end));
    if let Some(place) = place.and_then(|text| text.last_chunk_mut()) {
        tim.write(place);
    }
}

/// A message that may be sent: an object with `usr` and `msg`, without a token
/// and without the fields that only the server sets.
///
/// It borrows from the client's text and is made by
/// [`Rules::admit`](super::Rules::admit) alone.
pub struct Message<'a> {
    fields: Vec<Field<'a>>,
    usr: Cow<'a, str>,
    msg: Cow<'a, str>,
}

impl fmt::Debug for Message<'_> {
    // What people say does not belong into a log.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Message").field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl Message<'_> {
    /// Who says it: the value of `usr` without escapes.
    pub fn usr(&self) -> &str {
        &self.usr
    }

    /// What is said: the value of `msg` without escapes.
    pub fn msg(&self) -> &str {
        &self.msg
    }

    /// Bytes that [`encode`](Self::encode) appends.
    pub fn encoded_len(&self) -> usize {
        let fields: usize = self.fields.iter().map(|f| f.name.len() + f.value.len() + 2).sum();
        1 + fields + TIM_LAST.len()
    }

    /// Appends the text that every listener gets: the fields in the client's
    /// order, then `tim`, which [`stamp`] fills in.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.push(b'{');
        for field in &self.fields {
            out.extend_from_slice(field.name.as_bytes());
            out.push(b':');
            out.extend_from_slice(field.value.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(TIM_LAST.as_bytes());
    }
}

/// A message whose form is right, before anybody asked who speaks.
///
/// It has no `Debug`: it still holds the token.
pub(super) struct ParsedMessage<'a> {
    fields: Vec<Field<'a>>,
    usr: Member<'a>,
    msg: Member<'a>,
    jwt: Member<'a>,
    cmd: Option<&'a str>,
}

/// What an object has under a name that matters here.
pub(super) enum Member<'a> {
    Missing,
    Null,
    /// A string, without escapes.
    Text(Cow<'a, str>),
    /// Another type, or a string that is not Unicode.
    Other,
}

impl<'a> ParsedMessage<'a> {
    /// Reads `text` and checks its form.
    ///
    /// # Errors
    ///
    /// In this order: [`Refusal::BadJson`], [`Refusal::NotAnObject`],
    /// [`Refusal::DuplicateField`].
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        let mut fields = fields(text)?;
        let (mut usr, mut msg, mut jwt) = (Member::Missing, Member::Missing, Member::Missing);
        let mut cmd = None;
        for field in &fields {
            if depth(field.value) >= DEPTH_MAX {
                return Err(Refusal::BadJson);
            }
            match field.kind {
                Kind::Usr => usr = Member::of_unicode(field.value)?,
                Kind::Msg => msg = Member::of_unicode(field.value)?,
                Kind::Jwt => jwt = Member::of(field.value),
                Kind::Cmd => cmd = Some(field.value),
                Kind::Server | Kind::Other => {}
            }
        }
        if has_duplicate(&fields) {
            return Err(Refusal::DuplicateField);
        }
        fields.retain(|field| !matches!(field.kind, Kind::Jwt | Kind::Server));
        Ok(Self { fields, usr, msg, jwt, cmd })
    }

    /// Takes the token out, so that nothing that follows can show it.
    pub(super) fn take_jwt(&mut self) -> Member<'a> {
        std::mem::replace(&mut self.jwt, Member::Missing)
    }

    /// Who says it, if there is a string.
    pub(super) fn usr(&self) -> Option<&str> {
        match &self.usr {
            Member::Text(usr) => Some(usr),
            Member::Missing | Member::Null | Member::Other => None,
        }
    }

    /// What stands in `cmd`, as JSON.
    pub(super) fn cmd(&self) -> Option<&'a str> {
        self.cmd
    }

    /// Checks `usr`, then `msg`, then whether the name is free.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingUsr`], [`Refusal::MissingMsg`], [`Refusal::BadType`]
    /// or [`Refusal::NameReserved`].
    pub(super) fn finish(self) -> Result<Message<'a>, Refusal> {
        let usr = self.usr.usr()?;
        let msg = match self.msg {
            Member::Missing => return Err(Refusal::MissingMsg),
            Member::Text(msg) => msg,
            Member::Null | Member::Other => return Err(Refusal::BadType),
        };
        check_name(&usr)?;
        Ok(Message { fields: self.fields, usr, msg })
    }

    /// As [`finish`](Self::finish), for a message that is a command. Gives back
    /// the name, and whether there is no `msg` beside it.
    pub(super) fn finish_command(self) -> Result<(Cow<'a, str>, bool), Refusal> {
        let usr = self.usr.usr()?;
        check_name(&usr)?;
        Ok((usr, matches!(self.msg, Member::Missing)))
    }
}

/// The server's name is its own look, as a test of names knows.
fn check_name(usr: &str) -> Result<(), Refusal> {
    let is_servers = looks(usr).iter().any(|look| look == NAME_OF_SERVER);
    if is_servers { Err(Refusal::NameReserved) } else { Ok(()) }
}

impl<'a> Member<'a> {
    fn of(value: &'a str) -> Self {
        match value {
            "null" => Self::Null,
            _ if !value.starts_with('"') => Self::Other,
            _ if !value.contains('\\') => Self::Text(Cow::Borrowed(inner(value))),
            _ => {
                serde_json::from_str(value).map_or(Self::Other, |text| Self::Text(Cow::Owned(text)))
            }
        }
    }

    /// A name: text of which something is visible.
    fn usr(self) -> Result<Cow<'a, str>, Refusal> {
        match self {
            Self::Missing => Err(Refusal::MissingUsr),
            Self::Text(usr) if shown(&usr).is_empty() => Err(Refusal::MissingUsr),
            Self::Text(usr) => Ok(usr),
            Self::Null | Self::Other => Err(Refusal::BadType),
        }
    }

    /// As [`of`](Self::of), for the fields whose text people read.
    fn of_unicode(value: &'a str) -> Result<Self, Refusal> {
        match Self::of(value) {
            Self::Other if value.starts_with('"') => Err(Refusal::BadJson),
            member => Ok(member),
        }
    }
}

/// A member of the object, both parts byte for byte as they came.
struct Field<'a> {
    /// With its quotes and escapes.
    name: &'a str,
    value: &'a str,
    kind: Kind,
}

impl fmt::Debug for Field<'_> {
    // Values are what people say; a log needs no more than the names.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

/// What a name means to the server.
#[derive(Clone, Copy)]
enum Kind {
    Usr,
    Msg,
    Jwt,
    /// A command, where there are moderators.
    Cmd,
    /// Only the server sets it: what a client sends there is dropped.
    Server,
    Other,
}

impl Kind {
    fn of(name: &[u8]) -> Self {
        match name {
            b"usr" => Self::Usr,
            b"msg" => Self::Msg,
            b"jwt" => Self::Jwt,
            b"cmd" => Self::Cmd,
            b"tim" | b"err" => Self::Server,
            _ => Self::Other,
        }
    }
}

/// The members of the object in `text`, in their order.
fn fields(text: &str) -> Result<Vec<Field<'_>>, Refusal> {
    let mut json = serde_json::Deserializer::from_str(text);
    let fields = json.deserialize_map(Fields);
    match fields.and_then(|fields| json.end().map(|()| fields)) {
        Ok(fields) => Ok(fields),
        // What is not an object may still be JSON.
        Err(_) => match serde_json::from_str::<&RawValue>(text) {
            Ok(value) if depth(value.get()) <= DEPTH_MAX => Err(Refusal::NotAnObject),
            _ => Err(Refusal::BadJson),
        },
    }
}

struct Fields;

impl<'a> Visitor<'a> for Fields {
    type Value = Vec<Field<'a>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        // usr, msg, and one or two more.
        let mut fields = Vec::with_capacity(4);
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let (name, value) = (name.get(), value.get());
            fields.push(Field { name, value, kind: Kind::of(&unescaped(name)) });
        }
        Ok(fields)
    }
}

/// Whether two fields have the same name, however they are written.
fn has_duplicate(fields: &[Field<'_>]) -> bool {
    /// Up to so many fields are compared each with each, which is quicker.
    const FEW: usize = 16;
    if fields.len() <= FEW {
        let mut rest = fields;
        while let Some((field, others)) = rest.split_first() {
            if others.iter().any(|other| is_same_name(field.name, other.name)) {
                return true;
            }
            rest = others;
        }
        return false;
    }
    let mut names = HashSet::with_capacity(fields.len());
    !fields.iter().all(|field| names.insert(unescaped(field.name)))
}

fn is_same_name(one: &str, other: &str) -> bool {
    one == other
        || ((one.contains('\\') || other.contains('\\')) && unescaped(one) == unescaped(other))
}

/// The string that a JSON string stands for, as bytes: a surrogate alone, which
/// a name may hold, has no place in a `str`.
fn unescaped(json: &str) -> Cow<'_, [u8]> {
    if !json.contains('\\') {
        return Cow::Borrowed(inner(json).as_bytes());
    }
    // It has been parsed before, so that there is nothing to fail.
    Cow::Owned(serde_json::from_str::<ByteBuf>(json).unwrap_or_default().into_vec())
}

/// A JSON string without its quotes.
fn inner(json: &str) -> &str {
    json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default()
}

/// The levels of nesting in a valid JSON value: 0 for a string, 1 for `[]`.
fn depth(json: &str) -> usize {
    if !json.starts_with(['{', '[']) {
        return 0;
    }
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
