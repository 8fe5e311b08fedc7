//! The spellings of a value, and undoing those that differ letter by letter.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// A spelling that is shorter is too common to be one.
const SHORTEST: usize = 6;

/// The most bytes that one letter is spelled by: `&#x0000002F;` and the like are shorter.
pub(super) const LONGEST: usize = 12;

/// A value as it is, in base64 wherever it begins there, and in hexadecimal digits.
pub(super) fn spellings(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![
        value.to_vec(),
        HEXLOWER.encode(value).into_bytes(),
        HEXUPPER.encode(value).into_bytes(),
    ];
    // In base64 it begins at any of three places within a group of letters. Those that its neighbours have a part in are left out.
    for before in 0..3_usize {
        let bytes = [&[0; 3][..before], value].concat();
        let first = (before * 8).div_ceil(6);
        let last = bytes.len() * 8 / 6;
        for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
            let encoded = encoding.encode(&bytes);
            all.extend(encoded.as_bytes().get(first..last).map(<[u8]>::to_vec));
        }
    }
    all.retain(|spelling| spelling.len() >= SHORTEST || spelling == value);
    all
}

/// Bytes as they are meant, and where each was spelled: from, and to.
pub(super) struct Unspelled {
    pub bytes: Vec<u8>,
    pub places: Vec<(usize, usize)>,
}

/// Undoes what URLs, JSON and HTML write in another way. `None`: there is nothing of that.
pub(super) fn unspelled(text: &[u8]) -> Option<Unspelled> {
    memchr::memchr3(b'%', b'\\', b'&', text)?;
    let (mut bytes, mut places) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < text.len() {
        let (letter, length) = letter(&text[at..]).unwrap_or((u32::from(text[at]), 1));
        let mut utf8 = [0; 4];
        // Single bytes are those of whatever encoding there is.
        let meant: &[u8] = match char::from_u32(letter).filter(|_| length > 3 && letter > 0x7f) {
            Some(letter) => letter.encode_utf8(&mut utf8).as_bytes(),
            None => &[letter as u8],
        };
        bytes.extend_from_slice(meant);
        places.extend(meant.iter().map(|_| (at, at + length)));
        at += length;
    }
    Some(Unspelled { bytes, places })
}

/// A letter that is spelled by several bytes, and by how many.
fn letter(text: &[u8]) -> Option<(u32, usize)> {
    let number = |digits: &[u8], radix| {
        let digits = std::str::from_utf8(digits).ok()?;
        u32::from_str_radix(digits, radix)
            .ok()
            .filter(|_| !digits.starts_with('+'))
    };
    match text {
        [b'%', ..] => Some((number(text.get(1..3)?, 16)?, 3)),
        [b'\\', b'u', ..] => Some((number(text.get(2..6)?, 16)?, 6)),
        [b'\\', letter @ (b'/' | b'"' | b'\\' | b'\''), ..] => Some(((*letter).into(), 2)),
        [b'&', ..] => {
            let end = text.iter().take(LONGEST).position(|byte| *byte == b';')?;
            let letter = match &text[1..end] {
                b"amp" => '&'.into(),
                b"lt" => '<'.into(),
                b"gt" => '>'.into(),
                b"quot" => '"'.into(),
                b"apos" => '\''.into(),
                [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
                [b'#', digits @ ..] => number(digits, 10)?,
                _ => return None,
            };
            Some((letter, end + 1))
        }
        _ => None,
    }
}

/// How many bytes at the end may be the first of one letter.
pub(super) fn in_part(text: &[u8]) -> usize {
    let last = text.len().saturating_sub(LONGEST);
    let begins = |at: &usize| matches!(text[*at], b'%' | b'\\' | b'&');
    let begin = (last..text.len()).rev().find(begins);
    match begin {
        Some(at) if letter(&text[at..]).is_none() && may_go_on(&text[at..]) => text.len() - at,
        _ => 0,
    }
}

/// Whether a letter may begin so.
fn may_go_on(text: &[u8]) -> bool {
    let are_digits = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match text {
        [b'%', digits @ ..] => digits.len() < 2 && are_digits(digits),
        [b'\\'] => true,
        [b'\\', b'u', digits @ ..] => digits.len() < 4 && are_digits(digits),
        [b'&', rest @ ..] => rest
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#'),
        _ => false,
    }
}
