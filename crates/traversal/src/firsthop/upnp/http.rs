//! As much of HTTP/1.1 as UPnP needs: a request in, a whole response out (RFC 9112).

use core::net::SocketAddr;

/// A longer response is none: the largest descriptions have 30 kB.
pub const MAX_RESPONSE: usize = 256 * 1024;
/// More than this of headers is no HTTP.
const MAX_HEADER: usize = 16 * 1024;

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// 200 is success; 500 is what SOAP calls a fault.
    pub(super) status: u16,
    /// What it brings.
    pub(super) body: Vec<u8>,
}

/// How far a response is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to come.
    More,
    /// It is whole.
    Whole(Response),
    /// It is no response.
    Malformed,
}

/// Whether `bytes`, so far, are a whole response. Where the length is not told it is whole when the other side has closed.
pub fn is_whole(bytes: &[u8]) -> bool {
    match parse(bytes, false) {
        Progress::More => bytes.len() >= MAX_RESPONSE,
        Progress::Whole(_) | Progress::Malformed => true,
    }
}

/// Reads a response; `closed` says that nothing more comes.
pub(super) fn parse(bytes: &[u8], closed: bool) -> Progress {
    let short = || if closed { Progress::Malformed } else { Progress::More };
    let Some(end) = find(bytes, b"\r\n\r\n").map(|at| (at, at + 4)).or_else(|| {
        // Some devices write bare line feeds.
        find(bytes, b"\n\n").map(|at| (at, at + 2))
    }) else {
        return if bytes.len() > MAX_HEADER { Progress::Malformed } else { short() };
    };
    let head = String::from_utf8_lossy(&bytes[..end.0]);
    let mut lines = head.lines();
    let Some(status) = lines.next().and_then(status) else { return Progress::Malformed };
    let body = &bytes[end.1..];
    let whole = |body: &[u8]| Progress::Whole(Response { status, body: body.to_vec() });
    let headers = Headers::of(lines);
    if headers.chunked {
        return match chunks(body) {
            Ok(Some(body)) => whole(&body),
            Ok(None) => short(),
            Err(()) => Progress::Malformed,
        };
    }
    match headers.length {
        Some(length) if length > MAX_RESPONSE => Progress::Malformed,
        Some(length) => match body.get(..length) {
            Some(body) => whole(body),
            // A router that counts wrong has still said what it had to say.
            None if closed => whole(body),
            None => Progress::More,
        },
        None if closed => whole(body),
        None => Progress::More,
    }
}

/// A host as it stands in a request: which interface leads there is nobody else's business (RFC 6874 §1).
fn named(host: SocketAddr) -> SocketAddr {
    SocketAddr::new(host.ip(), host.port())
}

/// A GET request.
pub(super) fn get(host: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nUser-Agent: {AGENT}\r\n\r\n", named(host))
        .into_bytes()
}

/// A POST request that calls `action`.
pub(super) fn post(host: SocketAddr, path: &str, action: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nUser-Agent: {AGENT}\r\nContent-Type: text/xml; \
         charset=\"utf-8\"\r\nSOAPAction: \"{action}\"\r\nContent-Length: {}\r\n\r\n{body}",
        named(host),
        body.len()
    )
    .into_bytes()
}

/// Operating system, UPnP version, product, as UDA 1.1 §1.3.2 wants them: some routers answer 1.1 only to 1.1.
const AGENT: &str = "Linux UPnP/1.1 pinhole/0.1";

struct Headers {
    length: Option<usize>,
    chunked: bool,
}

impl Headers {
    fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut headers = Self { length: None, chunked: false };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                headers.length = value.parse().ok();
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                headers.chunked = value.to_ascii_lowercase().contains("chunked");
            }
        }
        headers
    }
}

fn status(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.")?.split_whitespace().nth(1)?.parse().ok()
}

/// A chunked body put together; `None` while the last chunk is missing.
fn chunks(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, ()> {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(bytes, b"\n") else { return Ok(None) };
        let line = String::from_utf8_lossy(&bytes[..end]);
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| ())?;
        if size == 0 {
            return Ok(Some(body));
        }
        if size > MAX_RESPONSE || body.len() + size > MAX_RESPONSE {
            return Err(());
        }
        let Some(chunk) = bytes.get(end + 1..end + 1 + size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        let after = &bytes[end + 1 + size..];
        bytes = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n")).unwrap_or(after);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, closed: bool, expected: Option<(u16, &str)>) {
        let whole = match parse(text.as_bytes(), closed) {
            Progress::Whole(response) => Some((response.status, String::from_utf8(response.body).expect("text"))),
            Progress::More | Progress::Malformed => None,
        };
        assert_eq!(whole, expected.map(|(status, body)| (status, body.to_owned())), "{text:?}");
    }

    #[test]
    fn bodies_end_where_they_are_said_to() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", false, Some((200, "ab")));
        check("HTTP/1.0 500 X\r\ncontent-length:2\r\n\r\na", false, None);
        check("HTTP/1.0 500 X\r\ncontent-length:2\r\n\r\na", true, Some((500, "a")));
        check("HTTP/1.1 200 OK\r\n\r\nabc", false, None);
        check("HTTP/1.1 200 OK\n\nabc", true, Some((200, "abc")));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        check(chunked, false, Some((200, "abcde")));
        check(&chunked[..chunked.len() - 6], false, None);
    }

    #[test]
    fn what_is_no_response_is_none() {
        let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
        for text in ["SSH-2.0-x\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", &chunked("zz\r\n"), &chunked("ffffffff\r\nabc")] {
            assert_eq!(parse(text.as_bytes(), false), Progress::Malformed, "{text:?}");
        }
        assert_eq!(parse(&vec![b'x'; MAX_HEADER + 1], false), Progress::Malformed);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", false), Progress::Malformed);
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx") && !is_whole(b"HTTP/1.1 200"));
    }
}
