//! What an idle connection costs.

use crate::common::process;
use crate::common::servers::Server;
use crate::options::Options;

/// The row's title.
pub const TITLE: &str = "private memory of an idle connection";

/// Private bytes of all processes of each server for one connection that has run a statement and is idle.
pub struct Memory {
    /// Connections that were opened.
    pub connections: usize,
    /// Bytes for each, of each server.
    pub bytes: [f64; 2],
}

/// Opens connections, lets each run one prepared statement, and looks at what the server has grown by.
pub async fn measure(servers: &[Server; 2], options: &Options) -> Memory {
    let mut bytes = [0.0; 2];
    for (server, bytes) in servers.iter().zip(&mut bytes) {
        let before = process::private_bytes(server.pid);
        let mut clients = Vec::new();
        for _ in 0..options.connections {
            let client = server.client().await;
            let sql = "SELECT body FROM bench.messages WHERE conversation_id = $1 AND id = $2";
            client.query(sql, &[&0i64, &0i64]).await.expect("an answer");
            clients.push(client);
        }
        let after = process::private_bytes(server.pid);
        *bytes = (after as f64 - before as f64) / options.connections.max(1) as f64;
        println!("{TITLE}, {}: {:.1} kB", server.name, *bytes / 1024.0);
    }
    Memory { connections: options.connections, bytes }
}
