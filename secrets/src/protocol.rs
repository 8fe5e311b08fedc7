//! What a broker asks, and what it is answered: messages over a `SOCK_SEQPACKET` socket, which is the standard input of `aegis-secrets`.
//!
//! ```text
//! {"get": {"alias": "github", "known": null}}   -> {"value": {"alias": "github", "version": …}}, a line feed, the bytes of the value
//! {"get": {"alias": "github", "known": "5f…"}}  -> {"unchanged": {…}}, where that is still the version
//!                                               -> {"failed": {…}}: by alias and source, without any value
//! ```
//!
//! Answers may come in another order than the questions. Every question is answered once, however often an alias is asked for.
//! Whoever asks closes the socket at the end.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The longest message, in bytes.
pub const LONGEST: usize = 64 << 10;

/// The longest value, in bytes.
pub const LONGEST_VALUE: usize = 32 << 10;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    /// For the value of a secret.
    Get {
        /// Which.
        alias: String,
        /// The version that the asker has: the value is not sent again while it is this one.
        #[serde(default)]
        known: Option<String>,
    },
}

impl Question {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings")
    }

    /// What was sent.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn decode(message: &[u8]) -> Result<Self, BadMessage> {
        if message.len() > LONGEST {
            return Err(BadMessage::Long);
        }
        Ok(serde_json::from_slice(message)?)
    }
}

/// What is answered. A value follows its head, and is in no field of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// Here it is.
    Value {
        /// Of which secret.
        alias: String,
        /// Which version: another one where the value is another one. It tells nothing of the value.
        version: String,
        /// Until when the source says that it is good: seconds since 1970.
        #[serde(default)]
        expires: Option<u64>,
        /// Whether it is older than its `rotate-every`.
        #[serde(default)]
        due: bool,
    },
    /// It is still the version that the asker has.
    Unchanged {
        /// Which.
        alias: String,
        /// As of [`Answer::Value`].
        #[serde(default)]
        expires: Option<u64>,
        /// As of [`Answer::Value`].
        #[serde(default)]
        due: bool,
    },
    /// It cannot be had.
    Failed {
        /// Which.
        alias: String,
        /// Where it was looked for.
        source: String,
        /// Why, with what to do about it.
        why: String,
    },
}

/// An answer as it is sent. Only [`Answer::Value`] has a value; with others it is left out.
pub fn encode(answer: &Answer, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut head = serde_json::to_vec(answer).expect("strings and numbers");
    head.push(b'\n');
    let value = match answer {
        Answer::Value { .. } => value,
        _ => &[],
    };
    // In one allocation: what is left behind by one that grows is not wiped.
    let mut message = Zeroizing::new(Vec::with_capacity(head.len() + value.len()));
    message.extend_from_slice(&head);
    message.extend_from_slice(value);
    message
}

/// An answer that was sent, and its value, which is empty but for [`Answer::Value`].
///
/// # Errors
///
/// It is none.
pub fn decode(message: &[u8]) -> Result<(Answer, &[u8]), BadAnswer> {
    if message.len() > LONGEST {
        return Err(BadMessage::Long);
    }
    // JSON has no line feed within a string.
    let end = message.iter().position(|byte| *byte == b'\n');
    let (head, value) = message.split_at(end.ok_or(BadMessage::Head)?);
    let (answer, value) = (serde_json::from_slice(head)?, &value[1..]);
    match &answer {
        Answer::Value { .. } if value.is_empty() => Err(BadMessage::Empty),
        Answer::Value { .. } if value.len() > LONGEST_VALUE => Err(BadMessage::Long),
        Answer::Value { .. } => Ok((answer, value)),
        _ if value.is_empty() => Ok((answer, value)),
        _ => Err(BadMessage::Value),
    }
}

/// Why a message is not an [`Answer`].
pub type BadAnswer = BadMessage;

/// Why a message is none. Nothing of its content is told.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// It is too long.
    #[error("the message is longer than any may be")]
    Long,
    /// It has no head.
    #[error("the message has no end of its head")]
    Head,
    /// A secret is empty.
    #[error("the secret is empty")]
    Empty,
    /// An answer has bytes behind it that ought to have none.
    #[error("the message has a value that belongs to nothing")]
    Value,
    /// Its head is none of those that there are.
    #[error("the message is not one of the protocol (line {}, column {})", .0.line(), .0.column())]
    Json(serde_json::Error),
}

impl From<serde_json::Error> for BadMessage {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_as_it_is() {
        let answer = Answer::Value {
            alias: "github".into(),
            version: "5f".into(),
            expires: Some(7),
            due: false,
        };
        let value = b"a\nb\"\\\xff";
        let message = encode(&answer, value);
        let (decoded, got) = decode(&message).unwrap();
        assert_eq!((decoded, got), (answer, &value[..]));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let head = br#"{"unchanged":{"alias":"a"}}"#;
        assert!(matches!(decode(head), Err(BadMessage::Head)));
        let with = [&head[..], b"\nx"].concat();
        assert!(matches!(decode(&with), Err(BadMessage::Value)));
        assert!(decode(&with[..with.len() - 1]).is_ok());
        let value = br#"{"value":{"alias":"a","version":"1"}}"#;
        let empty = [&value[..], b"\n"].concat();
        assert!(matches!(decode(&empty), Err(BadMessage::Empty)));
        let long = [&empty[..], &vec![b'x'; LONGEST_VALUE + 1]].concat();
        assert!(matches!(decode(&long), Err(BadMessage::Long)));
        assert!(decode(&long[..long.len() - 1]).is_ok());
        assert!(decode(b"{\"other\":{}}\n").is_err());
        assert!(Question::decode(br#"{"get":{"alias":"a","more":1}}"#).is_err());
        let get = Question::Get {
            alias: "a".into(),
            known: None,
        };
        assert_eq!(Question::decode(&get.encode()).unwrap(), get);
    }
}
