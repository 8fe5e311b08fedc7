//! How a refusal is told inside.

use http_body_util::{BodyExt, Full};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::Answer;
use crate::broker::judge::Refusal;
use crate::protocol::encode;

/// What is told of a refusal inside.
#[derive(Serialize)]
struct Told<'r> {
    error: &'static str,
    host: &'r str,
    #[serde(flatten)]
    refusal: &'r Refusal,
}

impl Refusal {
    /// As HTTP says it.
    pub(super) fn answer(&self, host: &str) -> Answer {
        let error = match self.status {
            500.. => "not reached",
            _ => "refused by the sandbox",
        };
        let refusal = self;
        let mut body = encode(&Told {
            error,
            host,
            refusal,
        });
        body.push(b'\n');
        let body = Full::from(body).map_err(|never| match never {});
        let mut answer = Response::new(body.boxed());
        *answer.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::FORBIDDEN);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}
