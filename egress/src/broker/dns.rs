//! The sandbox's DNS server. It knows nothing, and asks nobody: every name has the address that [`Names`](crate::broker::names::Names)
//! gives it, also one that is refused, so that a refusal can be told over HTTP. (After NXDOMAIN or a reset, package managers
//! retry for a minute.)

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::broker::names::normal;

/// The longest query, and so the longest answer: a name has 255 bytes. Longer ones are of other protocols.
pub const LONGEST: usize = 4096;

/// How long an answer may be remembered, in seconds. It holds until the run ends.
const TTL: u32 = 3600;

/// The answer to a packet; `None` where there should be none. `address` gives the address of a name.
pub fn answer(packet: &[u8], address: impl FnOnce(&str) -> Ipv4Addr) -> Option<Vec<u8>> {
    // An id, flags, four counts.
    let (id, [flags, _, ..]) = packet.get(..12)?.split_first_chunk::<2>()? else {
        return None;
    };
    let is_response = flags & 0x80 != 0;
    if is_response {
        return None;
    }
    let id = u16::from_be_bytes(*id);
    let query = Message::from_vec(packet)
        .ok()
        .filter(|_| packet.len() <= LONGEST);
    let answer = match query {
        Some(query) => to_query(&query, address),
        None => Message::error_msg(id, OpCode::Query, ResponseCode::FormErr),
    };
    answer.to_vec().ok()
}

fn to_query(query: &Message, address: impl FnOnce(&str) -> Ipv4Addr) -> Message {
    let mut answer = Message::new(
        query.metadata.id,
        MessageType::Response,
        query.metadata.op_code,
    );
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LONGEST as u16);
        answer.set_edns(edns);
    }
    let [question] = &*query.queries else {
        answer.metadata.response_code = ResponseCode::FormErr;
        return answer;
    };
    answer.add_query(question.clone());
    answer.metadata.response_code = match query.metadata.op_code {
        OpCode::Query => ResponseCode::NoError,
        _ => ResponseCode::NotImp,
    };
    if query.metadata.op_code != OpCode::Query {
        return answer;
    }
    match name(question) {
        Some(name) if question.query_type() == RecordType::A => {
            let rdata = RData::A(A(address(&name)));
            answer.add_answer(Record::from_rdata(question.name().clone(), TTL, rdata));
        }
        Some(_) => {}
        None => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer
}

/// The name that is asked for, where it is one.
fn name(question: &Query) -> Option<String> {
    let labels: Option<Vec<&str>> = (question.name().iter())
        // A dot within a label is not one between two.
        .map(|label| {
            std::str::from_utf8(label)
                .ok()
                .filter(|label| !label.contains('.'))
        })
        .collect();
    let internet = matches!(question.query_class(), DNSClass::IN | DNSClass::ANY);
    normal(&labels?.join(".")).filter(|_| internet)
}

/// A question as a resolver asks it: for tests and fuzzing.
#[doc(hidden)]
#[must_use]
pub fn question(name: &Name, kind: RecordType) -> Vec<u8> {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind));
    query.to_vec().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(25, 240, 0, 9);

    /// What is answered, and the name that an address was asked for.
    fn asked(packet: &[u8]) -> (Option<Message>, Option<String>) {
        let mut asked = None;
        let answer = answer(packet, |name| {
            asked = Some(name.to_owned());
            ADDRESS
        });
        (
            answer.map(|bytes| Message::from_vec(&bytes).unwrap()),
            asked,
        )
    }

    #[test]
    fn a_name_has_an_address_and_no_other_records() {
        let name = Name::from_ascii("API.example.COM.").unwrap();
        let (answer, asked_for) = asked(&question(&name, RecordType::A));
        let answer = answer.unwrap();
        assert_eq!(asked_for.as_deref(), Some("api.example.com"));
        assert_eq!(answer.metadata.id, 7);
        assert_eq!(answer.answers[0].data, RData::A(A(ADDRESS)));
        // In the case in which it was asked for, which resolvers compare.
        assert!(answer.answers[0].name.eq_case(&name));
        for kind in [
            RecordType::AAAA,
            RecordType::TXT,
            RecordType::HTTPS,
            RecordType::ANY,
        ] {
            let (answer, asked_for) = asked(&question(&name, kind));
            let answer = answer.unwrap();
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            assert!(answer.answers.is_empty() && asked_for.is_none(), "{kind}");
        }
    }

    #[test]
    fn what_is_no_name_has_no_address() {
        let labels: [&[&[u8]]; 6] = [
            &[b"127", b"1"],
            &[b"10", b"0", b"0", b"1"],
            &[b"nul\0", b"example"],
            &[b"dot.within", b"example"],
            &["b\u{fc}cher".as_bytes(), b"example"],
            &[b"\xff", b"example"],
        ];
        for labels in labels {
            let Ok(name) = Name::from_labels(labels.iter().copied()) else {
                continue;
            };
            let (answer, asked_for) = asked(&question(&name, RecordType::A));
            assert_eq!(asked_for, None, "{name}");
            assert_eq!(
                answer.unwrap().metadata.response_code,
                ResponseCode::NXDomain
            );
        }
    }

    #[test]
    fn what_is_no_question_is_told_so_or_not_answered() {
        assert_eq!(asked(b"").0, None);
        assert_eq!(asked(&[0; 11]).0, None);
        let mut packet = question(&Name::from_ascii("a.example.").unwrap(), RecordType::A);
        packet[2] |= 0x80;
        assert_eq!(
            asked(&packet).0,
            None,
            "an answer to an answer would go on for ever"
        );
        packet[2] = 0x28;
        let code = |packet: &[u8]| asked(packet).0.unwrap().metadata.response_code;
        assert_eq!(code(&packet), ResponseCode::NotImp);
        packet[2] = 0;
        // Two questions, where there is one.
        packet[5] = 2;
        assert_eq!(code(&packet), ResponseCode::FormErr);
        packet[5] = 0;
        assert_eq!(code(&packet), ResponseCode::FormErr);
        assert_eq!(code(&[0; LONGEST + 1]), ResponseCode::FormErr);
    }

    proptest! {
        #[test]
        fn no_packet_is_too_much(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            let length = answer(&packet, |_| ADDRESS).map_or(0, |answer| answer.len());
            prop_assert!(length <= packet.len() + 64);
        }

        #[test]
        fn no_change_to_a_question_is_too_much(at in 0..40_usize, byte: u8) {
            let mut packet = question(&Name::from_ascii("a.example.").unwrap(), RecordType::A);
            if let Some(changed) = packet.get_mut(at) {
                *changed = byte;
            }
            let length = answer(&packet, |_| ADDRESS).map_or(0, |answer| answer.len());
            prop_assert!(length <= packet.len() + 64);
        }
    }
}
