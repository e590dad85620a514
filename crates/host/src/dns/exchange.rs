//! The driver of the client machine: a UDP socket per question, a TCP connection per truncated answer.
//!
//! [`Exchanger`] is the part without a machine: it carries out what a [`Client`] asks for and gives back what it is to be
//! fed, so that a larger machine that contains a client can use it. [`Resolver`] puts the two together for everyone else.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use pinhole_dns::client::{Ask, Client, Config, Failure, Input, Output, QuestionId};
use pinhole_dns::message::{MAX_MESSAGE, Message};
use pinhole_sansio::{Instant, Machine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Inputs that may wait to be taken; beyond that the sockets wait.
const INPUTS: usize = 256;
/// The longest TCP exchange. The machine has its own, shorter patience; this one ends the task.
const TCP: Duration = Duration::from_secs(10);

/// Carries out a client's outputs.
#[derive(Debug)]
pub struct Exchanger {
    sender: mpsc::Sender<Input>,
    receiver: mpsc::Receiver<Input>,
    questions: HashMap<QuestionId, Sockets>,
}

/// The way to the task that owns a socket: where to, and what.
type Outgoing = mpsc::Sender<(SocketAddr, Vec<u8>)>;

/// What is open for one question. All of it ends with it.
#[derive(Debug, Default)]
struct Sockets {
    /// Datagrams to send, by family (IPv4 first), to the task that owns the socket.
    udp: [Option<Outgoing>; 2],
    tasks: Vec<AbortHandle>,
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Default for Exchanger {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchanger {
    /// Nothing is open.
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::channel(INPUTS);
        Self { sender, receiver, questions: HashMap::new() }
    }

    /// Carries out one output. A question that is done is closed and its answer returned.
    ///
    /// Sockets are opened in the network namespace of the calling thread. Must be called within a tokio runtime. What
    /// cannot be sent is lost, which the machine is used to.
    pub fn carry_out(&mut self, output: Output) -> Option<(QuestionId, Result<Box<Message>, Failure>)> {
        match output {
            Output::Transmit { question, server, bytes } => {
                if let Err(error) = self.transmit(question, server, bytes) {
                    tracing::debug!(%error, %server, "sending a DNS question");
                }
                None
            }
            Output::Exchange { question, server, bytes } => {
                let sender = self.sender.clone();
                let task = tokio::spawn(async move {
                    let response = tokio::time::timeout(TCP, exchange(server, &bytes)).await;
                    let response = response.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                    if let Err(error) = &response {
                        tracing::debug!(%error, %server, "a DNS question by TCP");
                    }
                    // A driver that has gone needs no input.
                    drop(sender.send(Input::Exchanged { question, response: response.ok() }).await);
                });
                self.questions.entry(question).or_default().tasks.push(task.abort_handle());
                None
            }
            Output::Done { question, answer } => {
                self.questions.remove(&question);
                Some((question, answer))
            }
        }
    }

    /// Closes what is open for a question that was cancelled.
    pub fn forget(&mut self, question: QuestionId) {
        self.questions.remove(&question);
    }

    /// True if no question has a socket open.
    pub fn is_idle(&self) -> bool {
        self.questions.is_empty()
    }

    /// The next input for the client. Cancelling loses nothing.
    pub async fn input(&mut self) -> Input {
        // The exchanger itself holds a sender: the channel does not end before it does.
        self.receiver.recv().await.unwrap_or(Input::Timeout)
    }

    fn transmit(&mut self, question: QuestionId, server: SocketAddr, bytes: Vec<u8>) -> io::Result<()> {
        let sockets = self.questions.entry(question).or_default();
        let slot = &mut sockets.udp[usize::from(server.is_ipv6())];
        let socket = match slot {
            Some(socket) => socket,
            None => {
                let (socket, task) = open(server, self.sender.clone())?;
                sockets.tasks.push(task);
                slot.insert(socket)
            }
        };
        // A full channel means that the socket does not take anything: what is lost is asked again.
        socket.try_send((server, bytes)).map_err(|_| io::ErrorKind::WouldBlock.into())
    }
}

/// Opens a socket on a random port and starts the task that owns it.
fn open(server: SocketAddr, inputs: mpsc::Sender<Input>) -> io::Result<(Outgoing, AbortHandle)> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let (sender, mut outgoing) = mpsc::channel::<(SocketAddr, Vec<u8>)>(8);
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; 4_096];
        loop {
            tokio::select! {
                datagram = outgoing.recv() => {
                    let Some((to, bytes)) = datagram else { return };
                    if let Err(error) = socket.send_to(&bytes, to).await {
                        tracing::debug!(%error, server = %to, "sending a DNS question");
                    }
                }
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((length, server)) => {
                        let input = Input::Datagram { server, bytes: buffer[..length].to_vec() };
                        if inputs.send(input).await.is_err() {
                            return;
                        }
                    }
                    // What an earlier datagram met on its way; the machine asks again.
                    Err(error) => tracing::debug!(%error, "receiving a DNS answer"),
                },
            }
        }
    });
    Ok((sender, task.abort_handle()))
}

/// One query and one response by TCP.
async fn exchange(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // In one write, and so one segment: some servers expect that (RFC 7766 §8).
    let mut framed = Vec::with_capacity(2 + query.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let length = usize::from(stream.read_u16().await?);
    debug_assert!(length <= MAX_MESSAGE);
    let mut response = vec![0; length];
    stream.read_exact(&mut response).await?;
    Ok(response)
}

/// A stub resolver: the client machine with sockets and the clock.
#[derive(Debug)]
pub struct Resolver {
    client: Client,
    exchanger: Exchanger,
    epoch: std::time::Instant,
}

impl Resolver {
    /// A resolver; `seed` from the system's generator.
    pub fn new(config: Config, seed: u64) -> Self {
        Self { client: Client::new(config, seed), exchanger: Exchanger::new(), epoch: std::time::Instant::now() }
    }

    /// Asks and waits for the answer, whatever its code.
    ///
    /// # Errors
    /// [`Failure`] if no server gave one.
    pub async fn ask(&mut self, ask: Ask) -> Result<Message, Failure> {
        let now = |epoch: std::time::Instant| Instant::from_nanos(epoch.elapsed().as_nanos() as u64);
        let question = self.client.ask(now(self.epoch), ask);
        let guard = Cancelling { resolver: self, question };
        let Resolver { client, exchanger, epoch } = &mut *guard.resolver;
        loop {
            while let Some(output) = client.poll_output() {
                match exchanger.carry_out(output) {
                    Some((done, answer)) if done == question => return answer.map(|message| *message),
                    Some(_) | None => {}
                }
            }
            let deadline = client.poll_timeout().map(|deadline| *epoch + Duration::from_nanos(deadline.at.as_nanos()));
            let input = match deadline {
                Some(at) => tokio::time::timeout_at(at.into(), exchanger.input()).await.unwrap_or(Input::Timeout),
                None => exchanger.input().await,
            };
            client.handle_input(now(*epoch), input);
        }
    }
}

/// Forgets the question when the caller stops waiting.
struct Cancelling<'a> {
    resolver: &'a mut Resolver,
    question: QuestionId,
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        self.resolver.client.cancel(self.question);
        self.resolver.exchanger.forget(self.question);
    }
}
