//! A stub resolver as a sans-IO machine: asks given servers until one answers.
//!
//! A question goes to one server after the other, each time a longer wait apart, by UDP with EDNS. FORMERR, NOTIMP and
//! BADVERS lead to the same question without EDNS; a truncated answer to TCP; SERVFAIL and REFUSED to the next server. A
//! response counts only if it comes from a server that was asked, with the question's random id and the question itself.
//!
//! The driver owns the sockets: one UDP socket, and so one random port, per question is what makes answers hard to forge.
//! There is no cache, no search list and no recursion.

use std::collections::VecDeque;

use core::fmt;
use core::net::SocketAddr;

use pinhole_sansio::{Deadline, Duration, Instant, Machine, Rng};

use crate::edns::{self, MAX_UDP, cookie};
use crate::message::{Edns, Header, Malformed, Message, Question};
use crate::record::CLASS_IN;
use crate::{Name, Rcode, Type};

/// Questions in flight; one more is refused. A node asks for its peers, and 1,024 at once are enough for any.
pub const MAX_QUESTIONS: usize = 1_024;
/// Servers whose cookies are remembered; beyond that the oldest is forgotten.
const MAX_COOKIES: usize = 64;
/// How long a TCP exchange may take.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// When a question that has had no answer is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The wait after the first attempt; it doubles after each.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// Attempts, over all servers.
    pub attempts: u32,
}

impl Schedule {
    /// For any server: 0.5, 1, 2, 4 s.
    pub const CONVENTIONAL: Self =
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(4), attempts: 4 };
    /// For a registry that is one round trip away and whose answer a punch waits for: 0.1, 0.2, 0.4, 0.8, 1, 1 … for about
    /// 6 s.
    pub const IMPATIENT: Self =
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(1), attempts: 8 };

    fn wait(&self, attempt: u32) -> Duration {
        self.first.saturating_mul(1 << attempt.min(16)).min(self.longest)
    }
}

/// How the client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// When it asks again.
    pub schedule: Schedule,
    /// Write names in random case and insist on it in the answer: some more bits against forgery ("0x20"). Off by default:
    /// wgsd's answers grow by it.
    pub random_case: bool,
    /// Send DNS cookies (RFC 7873): a server may give a proven source more.
    pub cookies: bool,
    /// Ask for recursion; needed where the server is a resolver, harmless where not.
    pub recursion: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { schedule: Schedule::CONVENTIONAL, random_case: false, cookies: true, recursion: true }
    }
}

/// Which question something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(u64);

/// A question to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The name.
    pub name: Name,
    /// The type.
    pub qtype: Type,
    /// EDNS options as (code, data); they are lost with a server that has no EDNS.
    pub options: Vec<(u16, Vec<u8>)>,
    /// Whom to ask, in this order.
    pub servers: Vec<SocketAddr>,
    /// In place of the client's own schedule.
    pub schedule: Option<Schedule>,
}

/// What happens to the client.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// A datagram came.
    Datagram {
        /// From here.
        server: SocketAddr,
        /// With this in it.
        bytes: Vec<u8>,
    },
    /// A TCP exchange ended.
    Exchanged {
        /// Of this question.
        question: QuestionId,
        /// With the response, without its length prefix; `None` if it failed.
        response: Option<Vec<u8>>,
    },
}

/// What the client wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram, from the question's own socket.
    Transmit {
        /// For this question.
        question: QuestionId,
        /// To here.
        server: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Connect, send with a length prefix, read one response: [`Input::Exchanged`].
    Exchange {
        /// For this question.
        question: QuestionId,
        /// With this server.
        server: SocketAddr,
        /// The query, without its length prefix.
        bytes: Vec<u8>,
    },
    /// The question is answered or given up; its socket can be closed.
    Done {
        /// Which question.
        question: QuestionId,
        /// The answer, whatever its code. It is truncated (TC) only if TCP did not work.
        answer: Result<Box<Message>, Failure>,
    },
}

/// Why a question got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No server answered in time.
    TimedOut,
    /// No server was named.
    NoServer,
    /// [`MAX_QUESTIONS`] are being asked.
    TooManyQuestions,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "no DNS server answered in time",
            Self::NoServer => "there is no DNS server to ask",
            Self::TooManyQuestions => "too many DNS questions at once",
        })
    }
}

impl std::error::Error for Failure {}

/// The client's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A question is due to be asked again, or given up.
    Retry,
    /// A TCP exchange has taken too long.
    TcpTimeout,
}

/// The machine. See the [module](self).
#[derive(Debug)]
pub struct Client {
    config: Config,
    rng: Rng,
    next: u64,
    asked: Vec<Asked>,
    outputs: VecDeque<Output>,
    cookies: VecDeque<(SocketAddr, Vec<u8>)>,
}

/// A question in flight.
#[derive(Debug)]
struct Asked {
    id: QuestionId,
    ask: Ask,
    schedule: Schedule,
    message_id: u16,
    /// The name as it is written in the query.
    written: Name,
    edns: bool,
    attempt: u32,
    state: State,
    /// The best answer that is not good enough to stop: truncated, or a server's failure.
    fallback: Option<Box<Message>>,
    /// Servers that have failed and need not be asked again.
    failed: Vec<SocketAddr>,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waiting for a datagram.
    Udp,
    /// Waiting for a TCP exchange with this server.
    Tcp(SocketAddr),
}

impl Client {
    /// A client with nothing to ask. Answers are as hard to forge as `seed` is to guess: take it from the system's
    /// generator.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::from_seed(seed),
            next: 0,
            asked: Vec::new(),
            outputs: VecDeque::new(),
            cookies: VecDeque::new(),
        }
    }

    /// Asks. The answer comes as [`Output::Done`] with this id.
    pub fn ask(&mut self, now: Instant, ask: Ask) -> QuestionId {
        let id = QuestionId(self.next);
        self.next += 1;
        let failure = match () {
            () if ask.servers.is_empty() => Some(Failure::NoServer),
            () if self.asked.len() >= MAX_QUESTIONS => Some(Failure::TooManyQuestions),
            () => None,
        };
        if let Some(failure) = failure {
            self.outputs.push_back(Output::Done { question: id, answer: Err(failure) });
            return id;
        }
        let mut asked = Asked {
            id,
            schedule: ask.schedule.unwrap_or(self.config.schedule),
            message_id: 0,
            written: ask.name.clone(),
            ask,
            edns: true,
            attempt: 0,
            state: State::Udp,
            fallback: None,
            failed: Vec::new(),
            deadline: now,
        };
        self.renew(&mut asked);
        self.transmit(now, &mut asked);
        self.asked.push(asked);
        id
    }

    /// Forgets a question; there will be no [`Output::Done`].
    pub fn cancel(&mut self, question: QuestionId) {
        self.asked.retain(|asked| asked.id != question);
        self.outputs.retain(|output| match output {
            Output::Transmit { question: id, .. }
            | Output::Exchange { question: id, .. }
            | Output::Done { question: id, .. } => *id != question,
        });
    }

    /// The way to the servers has opened or changed: what waits for a datagram is asked again with the next timeout.
    pub fn ask_again(&mut self, now: Instant) {
        let waiting = self.asked.iter_mut().filter(|asked| asked.state == State::Udp);
        waiting.for_each(|asked| asked.deadline = now);
    }

    /// A fresh message id and case.
    fn renew(&mut self, asked: &mut Asked) {
        asked.message_id = self.rng.next_u64() as u16;
        if self.config.random_case {
            asked.written = random_case(&asked.ask.name, &mut self.rng);
        }
    }

    /// Sends the next attempt to the server whose turn it is.
    fn transmit(&mut self, now: Instant, asked: &mut Asked) {
        let alive: Vec<SocketAddr> =
            asked.ask.servers.iter().copied().filter(|server| !asked.failed.contains(server)).collect();
        let Some(&server) = alive.get(asked.attempt as usize % alive.len().max(1)) else { return };
        let bytes = self.query(asked, server);
        self.outputs.push_back(Output::Transmit { question: asked.id, server, bytes });
        asked.state = State::Udp;
        asked.deadline = now + asked.schedule.wait(asked.attempt);
        asked.attempt += 1;
    }

    /// The query's bytes.
    fn query(&mut self, asked: &Asked, server: SocketAddr) -> Vec<u8> {
        let edns = asked.edns.then(|| {
            let mut options = asked.ask.options.clone();
            if self.config.cookies {
                options.push((edns::COOKIE, self.cookie(server)));
            }
            Edns { udp_size: MAX_UDP, ttl: 0, options }
        });
        let flags = if self.config.recursion { Header::RD } else { 0 };
        let question = Question { name: asked.written.clone(), qtype: asked.ask.qtype, qclass: CLASS_IN };
        let header = Header { id: asked.message_id, flags, counts: [0; 4] };
        Message { header, questions: vec![question], edns, ..Message::default() }.encode()
    }

    /// The cookie for `server`: ours, and the server's if it has given one.
    fn cookie(&mut self, server: SocketAddr) -> Vec<u8> {
        if let Some((_, cookie)) = self.cookies.iter().find(|(known, _)| *known == server) {
            return cookie.clone();
        }
        if self.cookies.len() == MAX_COOKIES {
            self.cookies.pop_front();
        }
        let cookie = self.rng.next_u64().to_be_bytes().to_vec();
        self.cookies.push_back((server, cookie.clone()));
        cookie
    }

    /// Remembers the server's half. False if the answer carries a cookie that is not for us (RFC 7873 §5.3).
    fn learn_cookie(&mut self, server: SocketAddr, message: &Message) -> bool {
        let Some(received) = message.option(edns::COOKIE) else { return true };
        let Some((_, cookie)) = self.cookies.iter_mut().find(|(known, _)| *known == server) else { return true };
        if received.get(..cookie::CLIENT_LEN) != cookie.get(..cookie::CLIENT_LEN) {
            return false;
        }
        if (16..=40).contains(&received.len()) {
            *cookie = received.to_vec();
        }
        true
    }

    fn on_datagram(&mut self, now: Instant, server: SocketAddr, bytes: &[u8]) {
        let Some(header) = Header::read(bytes).filter(|header| header.has(Header::QR)) else { return };
        let mine = |asked: &Asked| {
            asked.message_id == header.id && asked.state == State::Udp && asked.ask.servers.contains(&server)
        };
        let candidates: Vec<usize> = (0..self.asked.len()).filter(|&at| mine(&self.asked[at])).collect();
        for at in candidates {
            let Some(message) = self.accepted(&self.asked[at], bytes) else { continue };
            if !self.learn_cookie(server, &message) {
                continue;
            }
            let asked = self.asked.swap_remove(at);
            return self.on_answer(now, asked, server, message);
        }
    }

    /// The response decoded, if it answers this question. An error may come without the question (RFC 1035 §4.1.1 leaves a
    /// server that cannot read it no choice).
    fn accepted(&self, asked: &Asked, bytes: &[u8]) -> Option<Message> {
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            // A cut datagram with TC set still says: ask by TCP.
            Err(Malformed::Truncated) => cut(bytes)?,
            Err(_) => return None,
        };
        match &message.questions[..] {
            [question] => {
                let name = if self.config.random_case {
                    question.name.wire() == asked.written.wire()
                } else {
                    question.name == asked.written
                };
                let same = name && question.qtype == asked.ask.qtype && question.qclass == CLASS_IN;
                same.then_some(message)
            }
            [] if wants_no_edns(message.rcode()) => Some(message),
            _ => None,
        }
    }

    fn on_answer(&mut self, now: Instant, mut asked: Asked, server: SocketAddr, message: Message) {
        let rcode = message.rcode();
        if asked.edns && wants_no_edns(rcode) {
            asked.edns = false;
            asked.attempt = asked.attempt.saturating_sub(1);
            self.renew(&mut asked);
            self.transmit(now, &mut asked);
            return self.asked.push(asked);
        }
        if message.header.has(Header::TC) {
            let bytes = self.query(&asked, server);
            self.outputs.push_back(Output::Exchange { question: asked.id, server, bytes });
            asked.state = State::Tcp(server);
            asked.deadline = now + TCP_TIMEOUT;
            asked.fallback = Some(Box::new(message));
            return self.asked.push(asked);
        }
        if rcode == Rcode::NOERROR || rcode == Rcode::NXDOMAIN {
            return self.done(asked.id, Ok(Box::new(message)));
        }
        asked.fallback.get_or_insert(Box::new(message));
        self.server_failed(now, asked, server);
    }

    /// Goes on with the servers that are left.
    fn server_failed(&mut self, now: Instant, mut asked: Asked, server: SocketAddr) {
        asked.failed.push(server);
        let none_left = asked.ask.servers.iter().all(|server| asked.failed.contains(server));
        if none_left || asked.attempt >= asked.schedule.attempts {
            return self.give_up(asked);
        }
        self.renew(&mut asked);
        self.transmit(now, &mut asked);
        self.asked.push(asked);
    }

    fn give_up(&mut self, asked: Asked) {
        self.done(asked.id, asked.fallback.ok_or(Failure::TimedOut));
    }

    fn done(&mut self, question: QuestionId, answer: Result<Box<Message>, Failure>) {
        self.outputs.push_back(Output::Done { question, answer });
    }

    fn on_exchanged(&mut self, now: Instant, question: QuestionId, response: Option<&[u8]>) {
        let waits = |asked: &Asked| asked.id == question && matches!(asked.state, State::Tcp(_));
        let Some(at) = self.asked.iter().position(waits) else { return };
        let asked = self.asked.swap_remove(at);
        let State::Tcp(server) = asked.state else { return };
        let answers =
            |bytes: &&[u8]| Header::read(bytes).is_some_and(|h| h.has(Header::QR) && h.id == asked.message_id);
        match response.filter(answers).and_then(|bytes| self.accepted(&asked, bytes)) {
            Some(message) if matches!(message.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) => {
                self.done(question, Ok(Box::new(message)));
            }
            Some(_) | None => self.server_failed(now, asked, server),
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        while let Some(at) = self.asked.iter().position(|asked| asked.deadline <= now) {
            let mut asked = self.asked.swap_remove(at);
            match asked.state {
                State::Tcp(server) => self.server_failed(now, asked, server),
                State::Udp if asked.attempt >= asked.schedule.attempts => self.give_up(asked),
                State::Udp => {
                    self.transmit(now, &mut asked);
                    self.asked.push(asked);
                }
            }
        }
    }
}

/// The codes by which a server that does not know EDNS answers (RFC 6891 §7, §9).
fn wants_no_edns(rcode: Rcode) -> bool {
    matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS)
}

/// The header and question of a message that ends early though it admits it.
fn cut(bytes: &[u8]) -> Option<Message> {
    let header = Header::read(bytes).filter(|header| header.has(Header::TC))?;
    let (questions, _) = crate::message::View::new(bytes).ok()?.questions().ok()?;
    Some(Message { header, questions, ..Message::default() })
}

/// `name` with each letter in the case a coin gives.
fn random_case(name: &Name, rng: &mut Rng) -> Name {
    let flip = |byte: &u8| if byte.is_ascii_alphabetic() && rng.chance(0.5) { byte ^ 0x20 } else { *byte };
    let wire: Vec<u8> = name.wire().iter().map(flip).collect();
    Name::from_wire(&wire).unwrap_or_else(|_| name.clone())
}

impl Machine for Client {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Timeout => self.on_timeout(now),
            Input::Datagram { server, bytes } => self.on_datagram(now, server, &bytes),
            Input::Exchanged { question, response } => self.on_exchanged(now, question, response.as_deref()),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        let first = self.asked.iter().min_by_key(|asked| asked.deadline)?;
        let why = if first.state == State::Udp { Why::Retry } else { Why::TcpTimeout };
        Some(Deadline::new(first.deadline, why))
    }
}

#[cfg(test)]
mod tests;
