//! What an idle connection costs.

use crate::options::Options;
use crate::servers::Server;
use std::fs;

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
        let before = private_bytes(server.pid);
        let mut clients = Vec::new();
        for _ in 0..options.connections {
            let client = server.client().await;
            let sql = "SELECT body FROM bench.messages WHERE conversation_id = $1 AND id = $2";
            client.query(sql, &[&0i64, &0i64]).await.expect("an answer");
            clients.push(client);
        }
        let after = private_bytes(server.pid);
        *bytes = (after as f64 - before as f64) / options.connections.max(1) as f64;
        println!("{TITLE}, {}: {:.1} kB", server.name, *bytes / 1024.0);
    }
    Memory { connections: options.connections, bytes }
}

/// Private memory of a process and its children. What they share (buffers, program text) is counted for none of them.
fn private_bytes(pid: u32) -> u64 {
    let children = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let child: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (parent == pid).then_some(child)
    });
    std::iter::once(pid).chain(children).filter_map(private_bytes_of).sum()
}

fn private_bytes_of(pid: u32) -> Option<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let private = maps.lines().filter(|line| line.starts_with("Private_"));
    Some(private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() << 10)
}
