//! tokio-postgres: LISTEN by batch_execute, notifications from the connection's messages. The protocol of these programs
//! stands in `../README.md`.

use futures::{StreamExt, stream};
use postgres_protocol::escape::escape_identifier;
use serde_json::{Value, json};
use std::error::Error;
use tokio::sync::mpsc::unbounded_channel;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let channels: Vec<String> = std::env::args().skip(1).collect();
    let (client, mut connection) = config()?.connect(NoTls).await?;
    let (sender, mut told) = unbounded_channel();
    let driver = tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message? {
                let _ = sender.send(notification);
            }
        }
        Ok::<_, tokio_postgres::Error>(())
    });
    each(&client, "LISTEN", &channels).await?;
    println!("{}", json!({"event": "listening"}));
    while let Some(notification) = told.recv().await {
        let (channel, payload) = (notification.channel(), notification.payload());
        println!("{}", json!({"channel": channel, "payload": payload}));
        if channel != channels[0] {
            continue;
        }
        match serde_json::from_str::<Value>(payload)?["do"].as_str() {
            Some("unlisten") => {
                each(&client, "UNLISTEN", &channels[1..]).await?;
                println!("{}", json!({"event": "unlistened"}));
            }
            Some("listen") => {
                each(&client, "LISTEN", &channels[1..]).await?;
                println!("{}", json!({"event": "listening"}));
            }
            Some("stop") => break,
            _ => {}
        }
    }
    drop(client);
    Ok(driver.await??)
}

fn config() -> Result<Config, Box<dyn Error>> {
    let mut config = Config::new();
    config.host(std::env::var("PGHOST")?).port(std::env::var("PGPORT")?.parse()?);
    config.user(std::env::var("PGUSER")?).password(std::env::var("PGPASSWORD")?).dbname(std::env::var("PGDATABASE")?);
    Ok(config)
}

async fn each(client: &Client, word: &str, channels: &[String]) -> Result<(), tokio_postgres::Error> {
    for channel in channels {
        client.batch_execute(&format!("{word} {}", escape_identifier(channel))).await?;
    }
    Ok(())
}
