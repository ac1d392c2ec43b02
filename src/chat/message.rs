//! A message: from the JSON text of a client to the text that every listener gets.
//!
//! Names and values stay as the client wrote them: they are slices of its text. Only
//! white space between them is removed.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_bytes::ByteBuf;
use serde_json::value::RawValue;

use super::name::{SERVER_NAME, displayed, skeletons};
use super::notices::Refusal;
use super::tim::TIM_PLACEHOLDER;

/// The maximum depth of a message; its own braces are the first level.
pub const DEPTH_MAX: usize = 64;

/// A valid message: an object with `usr` and `msg`, without a token and without the
/// fields that only the server sets. It borrows from the text of the client.
pub struct Message<'a> {
    fields: Vec<Field<'a>>,
    usr: Cow<'a, str>,
    msg: Cow<'a, str>,
}

impl fmt::Debug for Message<'_> {
    // A log must not contain what people say.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Message").field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl Message<'_> {
    /// The value of `usr` without escapes.
    pub fn usr(&self) -> &str {
        &self.usr
    }

    /// The value of `msg` without escapes.
    pub fn msg(&self) -> &str {
        &self.msg
    }

    /// The number of bytes that [`encode`](Self::encode) appends.
    pub fn encoded_len(&self) -> usize {
        let fields: usize = self.fields.iter().map(|f| f.name.len() + f.value.len() + 2).sum();
        1 + fields + TIM_PLACEHOLDER.len()
    }

    /// Appends the text that every listener gets: the fields in the order of the
    /// client, then `tim`, which [`stamp`](super::stamp) sets.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.push(b'{');
        for field in &self.fields {
            out.extend_from_slice(field.name.as_bytes());
            out.push(b':');
            out.extend_from_slice(field.value.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(TIM_PLACEHOLDER.as_bytes());
    }
}

/// The value of `usr` of a message in the feed, without escapes.
pub(super) fn usr_of(text: &str) -> Option<Cow<'_, str>> {
    let fields = fields(text).ok()?;
    let usr = fields.iter().find(|field| matches!(field.role, FieldRole::Usr))?;
    match FieldValue::parse(usr.value) {
        FieldValue::Text(usr) => Some(usr),
        FieldValue::Missing | FieldValue::Null | FieldValue::Other => None,
    }
}

/// A message whose form is valid, before its token and its name are checked. It has no
/// `Debug` because it contains the token.
pub(super) struct ParsedMessage<'a> {
    fields: Vec<Field<'a>>,
    usr: FieldValue<'a>,
    msg: FieldValue<'a>,
    jwt: FieldValue<'a>,
    cmd: Option<&'a str>,
}

/// The value of a field that the server uses.
pub(super) enum FieldValue<'a> {
    Missing,
    Null,
    /// A string, without escapes.
    Text(Cow<'a, str>),
    /// Another type, or a string that is not Unicode.
    Other,
}

impl<'a> ParsedMessage<'a> {
    /// Reads `text` and checks its form. `bearer` is the token that came with it, if any.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadJson`] or [`Refusal::NotAnObject`] if it cannot be read. Then, in this
    /// order: [`Refusal::BadRequest`] if it has another token than `bearer`,
    /// [`Refusal::BadJson`], [`Refusal::DuplicateField`].
    pub(super) fn parse(text: &'a str, bearer: Option<&str>) -> Result<Self, Refusal> {
        let mut fields = fields(text)?;
        if bearer.is_some_and(|bearer| fields.iter().any(|field| field.is_token_but(bearer))) {
            return Err(Refusal::BadRequest);
        }
        let [mut usr, mut msg, mut jwt] = [const { FieldValue::Missing }; 3];
        let mut cmd = None;
        for field in &fields {
            if depth(field.value) >= DEPTH_MAX {
                return Err(Refusal::BadJson);
            }
            match field.role {
                FieldRole::Usr => usr = FieldValue::parse_unicode(field.value)?,
                FieldRole::Msg => msg = FieldValue::parse_unicode(field.value)?,
                FieldRole::Jwt => jwt = FieldValue::parse(field.value),
                FieldRole::Cmd => cmd = Some(field.value),
                FieldRole::Server | FieldRole::Other => {}
            }
        }
        if has_duplicate(&fields) {
            return Err(Refusal::DuplicateField);
        }
        fields.retain(|field| !matches!(field.role, FieldRole::Jwt | FieldRole::Server));
        Ok(Self { fields, usr, msg, jwt, cmd })
    }

    /// Removes the token, so that nothing later can reveal it.
    pub(super) fn take_jwt(&mut self) -> FieldValue<'a> {
        std::mem::replace(&mut self.jwt, FieldValue::Missing)
    }

    /// The value of `usr`, if it is a string.
    pub(super) fn usr(&self) -> Option<&str> {
        match &self.usr {
            FieldValue::Text(usr) => Some(usr),
            FieldValue::Missing | FieldValue::Null | FieldValue::Other => None,
        }
    }

    /// The value of `cmd`, as JSON.
    pub(super) fn cmd(&self) -> Option<&'a str> {
        self.cmd
    }

    /// Checks `usr`, then `msg`, then whether the name is allowed.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingUsr`], [`Refusal::MissingMsg`], [`Refusal::BadType`]
    /// or [`Refusal::NameReserved`].
    pub(super) fn into_message(self) -> Result<Message<'a>, Refusal> {
        let usr = self.usr.into_usr()?;
        let msg = match self.msg {
            FieldValue::Missing => return Err(Refusal::MissingMsg),
            FieldValue::Text(msg) => msg,
            FieldValue::Null | FieldValue::Other => return Err(Refusal::BadType),
        };
        check_name(&usr)?;
        Ok(Message { fields: self.fields, usr, msg })
    }

    /// As [`into_message`](Self::into_message), for a command. Returns `usr`, and whether
    /// `msg` is missing, as it must be.
    pub(super) fn into_command(self) -> Result<(Cow<'a, str>, bool), Refusal> {
        let usr = self.usr.into_usr()?;
        check_name(&usr)?;
        Ok((usr, matches!(self.msg, FieldValue::Missing)))
    }
}

/// Refuses names that look like the name of the server, which is its own skeleton.
fn check_name(usr: &str) -> Result<(), Refusal> {
    let is_reserved = skeletons(usr).iter().any(|skeleton| skeleton == SERVER_NAME);
    if is_reserved { Err(Refusal::NameReserved) } else { Ok(()) }
}

impl<'a> FieldValue<'a> {
    fn parse(value: &'a str) -> Self {
        match value {
            "null" => Self::Null,
            _ if !value.starts_with('"') => Self::Other,
            _ if !value.contains('\\') => Self::Text(Cow::Borrowed(unquoted(value))),
            _ => {
                serde_json::from_str(value).map_or(Self::Other, |text| Self::Text(Cow::Owned(text)))
            }
        }
    }

    /// The text of `usr`, of which something must be visible.
    fn into_usr(self) -> Result<Cow<'a, str>, Refusal> {
        match self {
            Self::Missing => Err(Refusal::MissingUsr),
            Self::Text(usr) if displayed(&usr).is_empty() => Err(Refusal::MissingUsr),
            Self::Text(usr) => Ok(usr),
            Self::Null | Self::Other => Err(Refusal::BadType),
        }
    }

    /// As [`parse`](Self::parse), for the fields that people read.
    fn parse_unicode(value: &'a str) -> Result<Self, Refusal> {
        match Self::parse(value) {
            Self::Other if value.starts_with('"') => Err(Refusal::BadJson),
            value => Ok(value),
        }
    }
}

/// A member of the object; both parts are the bytes of the client.
struct Field<'a> {
    /// With quotes and escapes.
    name: &'a str,
    /// Without them, as bytes: a name may contain a lone surrogate, which a `str` cannot.
    key: Cow<'a, [u8]>,
    value: &'a str,
    role: FieldRole,
}

impl fmt::Debug for Field<'_> {
    // A log must not contain what people say.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

impl Field<'_> {
    /// Whether this is a token, and another one than `bearer`.
    fn is_token_but(&self, bearer: &str) -> bool {
        matches!(self.role, FieldRole::Jwt)
            && match FieldValue::parse(self.value) {
                FieldValue::Missing | FieldValue::Null => false,
                FieldValue::Text(token) => !token.is_empty() && token != bearer,
                FieldValue::Other => true,
            }
    }
}

/// What a field is for the server.
#[derive(Clone, Copy)]
enum FieldRole {
    Usr,
    Msg,
    Jwt,
    /// A command, if the rules have moderators.
    Cmd,
    /// Only the server sets it; it is removed from a message of a client.
    Server,
    Other,
}

impl FieldRole {
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
        // It may still be valid JSON.
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
            let key = unescaped(name);
            fields.push(Field { name, value, role: FieldRole::of(&key), key });
        }
        Ok(fields)
    }
}

/// Whether two fields have the same name, with or without escapes.
fn has_duplicate(fields: &[Field<'_>]) -> bool {
    /// Up to this number of fields it is faster to compare each with each.
    const FEW: usize = 16;
    if fields.len() <= FEW {
        let is_repeated = |(at, field): (usize, &Field<'_>)| {
            fields.iter().take(at).any(|other| other.key == field.key)
        };
        return fields.iter().enumerate().any(is_repeated);
    }
    let mut keys = HashSet::with_capacity(fields.len());
    !fields.iter().all(|field| keys.insert(&field.key))
}

/// The value of a JSON string, as bytes.
fn unescaped(json: &str) -> Cow<'_, [u8]> {
    if !json.contains('\\') {
        return Cow::Borrowed(unquoted(json).as_bytes());
    }
    // It was parsed before, so this cannot fail.
    Cow::Owned(serde_json::from_str::<ByteBuf>(json).unwrap_or_default().into_vec())
}

/// A JSON string without its quotes.
fn unquoted(json: &str) -> &str {
    json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or_default()
}

/// The depth of a valid JSON value: 0 for a string, 1 for `[]`.
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
