//! Checks a text before it is parsed: for anything that could keep the parser busy, overflow its stack, or make
//! a reader see another text than the parser.

use aegis_profile::syntax::is_deceptive;
use regorus::Source;
use regorus::unstable::{Lexer, TokenKind};

use super::BadModule;
use super::limits::{BRACKETS, OPERATORS};
use crate::model::RegoModule;

/// 2^53: canonical JSON represents whole numbers up to it exactly.
const MAX_NUMBER: u64 = 1 << 53;

/// Operators, and whatever else joins two expressions into one.
const JOINING: [&str; 17] = [
    "+", "-", "*", "/", "%", "&", "|", "<", "<=", ">", ">=", "=", "==", "!=", ":=", ".", "in",
];

pub(super) fn scan(module: &RegoModule) -> Result<(), BadModule> {
    let bad = |line: u32, column: u32, message: String, help: &str| {
        BadModule::new(&module.name, (line, column), message, help)
    };
    for (line, text) in (1..).zip(module.text.split('\n')) {
        if let Some((column, c)) = (1..).zip(text.chars()).find(|(_, c)| is_deceptive(*c)) {
            let code = u32::from(c);
            let message = format!("the character U+{code:04X} cannot be seen, or hides others");
            return Err(bad(line, column, message, "remove it"));
        }
    }
    let source = Source::from_contents(module.name.clone(), module.text.clone())
        .map_err(|error| bad(0, 0, first_line(&error.to_string()), "shorten it"))?;
    let mut lexer = Lexer::new(&source);
    // The number of operators of the current expression, for each open bracket.
    let mut operators = vec![0_usize];
    let mut previous: Option<(u32, bool)> = None;
    let mut after_dot = false;
    loop {
        let token = lexer
            .next_token()
            .map_err(|error| from_engine(&module.name, &error))?;
        let (kind, span) = (token.0, token.1);
        let is_text = matches!(kind, TokenKind::String | TokenKind::RawString);
        let text = if is_text { "" } else { span.text() };
        let (line, column) = (span.line, span.col);
        let joins =
            JOINING.contains(&text) || matches!(kind, TokenKind::Number) && text.starts_with('-');
        match kind {
            TokenKind::Eof => return Ok(()),
            TokenKind::Number => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let number = digits.bytes().all(|b| b.is_ascii_digit());
                let number = digits
                    .parse()
                    .ok()
                    .filter(|n: &u64| number && *n <= MAX_NUMBER);
                if number.is_none() {
                    let message = "not a whole number up to 2^53".to_owned();
                    return Err(bad(
                        line,
                        column,
                        message,
                        "write all digits of a smaller one",
                    ));
                }
            }
            TokenKind::Ident if !after_dot && matches!(text, "with" | "else" | "__target__") => {
                let help = match text {
                    "with" => "a rule is asked of the request as it is: remove it",
                    "else" => "write a second rule, which says `not` of the first one's condition",
                    _ => "remove it",
                };
                return Err(bad(
                    line,
                    column,
                    format!("`{text}` has no place here"),
                    help,
                ));
            }
            _ => (),
        }
        let begins = previous.is_some_and(|(before, joined)| before != line && !joined && !joins);
        if let Some(count) = operators.last_mut()
            && (begins || matches!(text, "," | ";"))
        {
            *count = 0;
        }
        if joins || matches!(text, "(" | "[") {
            let too_many = operators.last_mut().is_some_and(|count| {
                *count += 1;
                *count > OPERATORS
            });
            if too_many {
                let message = format!("more than {OPERATORS} operators in one expression");
                return Err(bad(line, column, message, "divide it among several rules"));
            }
        }
        match text {
            "(" | "[" | "{" | "set(" => {
                operators.push(0);
                if operators.len() > BRACKETS + 1 {
                    let message = format!("more than {BRACKETS} brackets within brackets");
                    return Err(bad(
                        line,
                        column,
                        message,
                        "give inner parts a rule of their own",
                    ));
                }
            }
            ")" | "]" | "}" if operators.len() > 1 => {
                operators.pop();
            }
            _ => (),
        }
        after_dot = text == ".";
        previous = Some((line, joins));
    }
}

/// An error of the engine, which it gives with a drawing of the place.
pub(super) fn from_engine(file: &str, error: &impl ToString) -> BadModule {
    let text = error.to_string();
    let place = text.lines().find_map(|line| line.strip_prefix("--> "));
    let mut place = place.map(|p| p.rsplit(':').map(str::parse::<u32>));
    let column = place.as_mut().and_then(|p| p.next()?.ok());
    let line = place.as_mut().and_then(|p| p.next()?.ok());
    let help = "see the Rego reference of Open Policy Agent";
    BadModule::new(
        file,
        (line.unwrap_or(0), column.unwrap_or(0)),
        first_line(&text),
        help,
    )
}

/// The message itself in an error of the engine, safe to print.
pub(super) fn first_line(text: &str) -> String {
    let told = text.lines().find_map(|line| line.strip_prefix("error: "));
    let told = told.or_else(|| text.lines().find(|line| !line.is_empty()));
    aegis_profile::syntax::quote(told.unwrap_or("not understood"))
}
