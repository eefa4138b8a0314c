//! Requests over HTTP/1.1 byte by byte: what a browser, curl or Prometheus sends.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::support::LONG;

/// What ends the reading of a stream that goes on.
const QUIET: Duration = Duration::from_millis(500);

/// An answer, as far as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without the marks of chunks.
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of gRPC-Web, from the headers or from the frame of trailers; `None` where the stream has not ended.
    pub fn grpc_status(&self) -> Option<i32> {
        if let Some(status) = self.header("grpc-status") {
            return status.parse().ok();
        }
        let (_, trailers) = self.frames();
        let line = trailers.as_ref()?.lines().find_map(|line| line.strip_prefix("grpc-status:"))?;
        line.trim().parse().ok()
    }

    /// Messages of gRPC-Web, and the text of its trailers.
    pub fn frames(&self) -> (Vec<&[u8]>, Option<String>) {
        let (mut messages, mut trailers) = (Vec::new(), None);
        let mut rest = self.body.as_slice();
        while let [kind, a, b, c, d, after @ ..] = rest {
            let n_bytes = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let Some((frame, after)) = after.split_at_checked(n_bytes) else { break };
            match kind {
                0 => messages.push(frame),
                _ => trailers = Some(String::from_utf8_lossy(frame).into_owned()),
            }
            rest = after;
        }
        (messages, trailers)
    }
}

/// A request's head.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\n{lines}\r\n")
}

/// A call of gRPC-Web with one message.
pub fn web_call(path: &str, headers: &[(&str, &str)], message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a small message");
    let body: Vec<u8> = [&[0], length.to_be_bytes().as_slice(), message].concat();
    let n_bytes = body.len().to_string();
    let mut all = vec![("content-type", "application/grpc-web+proto"), ("content-length", &n_bytes)];
    all.extend_from_slice(headers);
    [head("POST", path, &all).into_bytes(), body].concat()
}

/// Sends a request and reads the answer: to its end, or until nothing comes any more.
pub async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Answer {
    // A service that has answered already may have closed the connection.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    loop {
        let has_head = bytes.windows(4).any(|window| window == b"\r\n\r\n");
        let limit = if has_head { QUIET } else { LONG };
        match timeout(limit, stream.read_buf(&mut bytes)).await {
            Ok(Ok(n_bytes)) if n_bytes > 0 => {
                if is_complete(request, &bytes) {
                    return parse(&bytes);
                }
            }
            Ok(Ok(_) | Err(_)) | Err(_) => return parse(&bytes),
        }
    }
}

fn is_complete(request: &[u8], bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let answer = parse(bytes);
    if request.starts_with(b"HEAD ") {
        return true;
    }
    match answer.header("content-length") {
        Some(length) => bytes.len() - end - 4 >= length.parse::<usize>().expect("a number"),
        None => bytes.ends_with(b"0\r\n\r\n"),
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let rest = &bytes[end + 4..];
    let body = if is_chunked { chunks(rest) } else { rest.to_vec() };
    Answer { status: status.parse().expect("a number"), headers, body }
}

fn chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("a size");
        let n_bytes = usize::from_str_radix(size, 16).expect("a size");
        let chunk = &rest[end + 2..];
        body.extend_from_slice(&chunk[..n_bytes.min(chunk.len())]);
        let Some(after) = chunk.get(n_bytes + 2..) else { break };
        rest = after;
    }
    body
}
