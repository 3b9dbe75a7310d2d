//! Clients that listen, by the thousand, on few threads that do nothing else.

use super::servers::Login;
use super::wire::Wire;
use std::io;
use std::net::Ipv4Addr;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Clients that connect from one loopback address, which has some twenty-eight thousand ports. The next come from the next:
/// a new PostgreSQL lets in the first address only, and so many connections it has not.
const ADDRESS_CLIENTS: usize = 2_000;

/// The threads that read the sockets of listening clients. Whoever sends has a thread of its own, so neither waits until
/// the other has had its turn.
pub struct Ears {
    runtime: Runtime,
}

/// A client that listens. Dropping it closes its connection.
pub struct Listening {
    task: JoinHandle<()>,
    statements: UnboundedSender<Wanted>,
}

/// A statement that a client is to run, and who is told when it is done.
type Wanted = (String, oneshot::Sender<()>);

impl Ears {
    /// Starts the threads. To be dropped outside of any runtime.
    pub fn start(threads: usize) -> Ears {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads.max(1)).thread_name("ears").enable_all();
        Ears { runtime: builder.build().expect("threads for the clients") }
    }

    /// A client that connects and gives the payload of each notification to `heard`. `number` chooses the address that it
    /// connects from.
    pub fn listen(&self, login: Login, number: usize, heard: impl FnMut(&[u8]) + Send + 'static) -> Listening {
        let from = Ipv4Addr::new(127, 0, 0, (1 + number / ADDRESS_CLIENTS % 250) as u8);
        let (statements, wanted) = unbounded_channel();
        let task = self.runtime.spawn(async move {
            if let Err(error) = follow(&login, from, wanted, heard).await {
                eprintln!("a listening client ended: {error}");
            }
        });
        Listening { task, statements }
    }
}

/// Listens until nobody wants anything of it any more.
async fn follow(
    login: &Login,
    from: Ipv4Addr,
    mut wanted: UnboundedReceiver<Wanted>,
    mut heard: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut wire = Wire::connect(login, from).await?;
    loop {
        tokio::select! {
            read = wire.hear(&mut heard) => read?,
            statement = wanted.recv() => {
                let Some((sql, done)) = statement else { return Ok(()) };
                wire.run(&sql, &mut heard).await?;
                // nobody may be waiting for it
                let _ = done.send(());
            }
        }
    }
}

impl Listening {
    /// Sends a statement, now or when it is connected. What is returned waits until it is done.
    pub fn say(&self, sql: &str) -> impl Future<Output = ()> + use<> {
        let (sender, done) = oneshot::channel();
        // where the client has ended, the wait says so
        let _ = self.statements.send((sql.to_owned(), sender));
        async move { done.await.expect("a client connects and is answered") }
    }

    /// Whether its connection is open.
    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
