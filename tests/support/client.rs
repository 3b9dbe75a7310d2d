//! A small blocking protocol client that hides nothing: every backend message becomes an [`Event`].

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::{backend, frontend};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a test waits for the server before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an error or a notice says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub severity: String,
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub position: Option<String>,
    pub context: Option<String>,
}

/// One message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Columns(Vec<(String, u32)>),
    Parameters(Vec<u32>),
    Row(Vec<Option<Vec<u8>>>),
    Tag(String),
    Empty,
    NoData,
    Suspended,
    /// The server waits for so many columns.
    CopyIn(usize),
    ParseComplete,
    BindComplete,
    CloseComplete,
    Error(Report),
    Notice(Report),
    Notification {
        channel: String,
        payload: String,
        pid: i32,
    },
    Status {
        name: String,
        value: String,
    },
    Ready(u8),
}

pub struct Client {
    stream: TcpStream,
    incoming: BytesMut,
    outgoing: BytesMut,
    pub pid: i32,
    pub secret: i32,
    /// Everything that came before the first ReadyForQuery.
    pub greeting: Vec<Event>,
}

fn report(mut fields: backend::ErrorFields<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    while let Some(field) = fields.next()? {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'V' => report.severity = value,
            b'C' => report.code = value,
            b'M' => report.message = value,
            b'D' => report.detail = Some(value),
            b'H' => report.hint = Some(value),
            b'P' => report.position = Some(value),
            b'W' => report.context = Some(value),
            _ => {}
        }
    }
    Ok(report)
}

impl Client {
    /// Connects and logs in; the error is the server's.
    pub fn connect(address: SocketAddr, user: &str, password: &str, database: &str) -> Result<Client, Box<Report>> {
        Client::connect_with(address, password, &[("user", user), ("database", database)])
    }

    /// Connects with these start-up parameters.
    pub fn connect_with(
        address: SocketAddr,
        password: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Client, Box<Report>> {
        let mut client = Client::raw(address);
        frontend::startup_message(parameters.iter().copied(), &mut client.outgoing).unwrap();
        client.send();
        client.log_in(password).expect("the server answers")?;
        Ok(client)
    }

    /// Connects to a server that may be killed meanwhile; the outer error is the connection's.
    pub fn try_connect(
        address: SocketAddr,
        user: &str,
        password: &str,
        database: &str,
    ) -> io::Result<Result<Client, Box<Report>>> {
        let mut client = Client::over(TcpStream::connect(address)?);
        frontend::startup_message([("user", user), ("database", database)], &mut client.outgoing)?;
        client.flush()?;
        Ok(client.log_in(password)?.map(|()| client))
    }

    /// A connection on which nothing has been said.
    pub fn raw(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).expect("the server listens"))
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, incoming: BytesMut::new(), outgoing: BytesMut::new(), pid: 0, secret: 0, greeting: Vec::new() }
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn log_in(&mut self, password: &str) -> io::Result<Result<(), Box<Report>>> {
        let mut scram = None;
        loop {
            match self.message()? {
                backend::Message::AuthenticationOk => {}
                backend::Message::AuthenticationSasl(body) => {
                    let mechanisms: Vec<String> = body.mechanisms().map(|m| Ok(m.to_owned())).collect().unwrap();
                    assert!(mechanisms.contains(&"SCRAM-SHA-256".to_owned()));
                    let exchange = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                    frontend::sasl_initial_response("SCRAM-SHA-256", exchange.message(), &mut self.outgoing).unwrap();
                    scram = Some(exchange);
                    self.flush()?;
                }
                backend::Message::AuthenticationSaslContinue(body) => {
                    let exchange = scram.as_mut().unwrap();
                    exchange.update(body.data()).expect("the server's first message is sound");
                    frontend::sasl_response(exchange.message(), &mut self.outgoing).unwrap();
                    self.flush()?;
                }
                backend::Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().unwrap().finish(body.data()).expect("the server knows the password");
                }
                backend::Message::BackendKeyData(body) => {
                    self.pid = body.process_id();
                    self.secret = body.secret_key();
                }
                backend::Message::ErrorResponse(body) => return Ok(Err(Box::new(report(body.fields())?))),
                backend::Message::ReadyForQuery(_) => return Ok(Ok(())),
                other => {
                    let event = Client::event(other)?;
                    self.greeting.push(event);
                }
            }
        }
    }

    /// Sends what has been written to the buffer.
    pub fn send(&mut self) {
        self.flush().expect("the server reads");
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = self.outgoing.split();
        self.stream.write_all(&bytes)
    }

    /// The same to a server that may be killed: whether it took it.
    pub fn try_send(&mut self) -> bool {
        self.flush().is_ok()
    }

    /// What has been written to the buffer, which is then empty.
    pub fn take_written(&mut self) -> BytesMut {
        self.outgoing.split()
    }

    /// Sends bytes as they are.
    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// How long the next messages may take.
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    /// The next message as the protocol has it.
    pub fn message(&mut self) -> io::Result<backend::Message> {
        loop {
            if let Some(message) = backend::Message::parse(&mut self.incoming)? {
                return Ok(message);
            }
            let mut chunk = [0; 16 << 10];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.incoming.extend_from_slice(&chunk[..read]);
        }
    }

    fn event(message: backend::Message) -> io::Result<Event> {
        use backend::Message as M;
        Ok(match message {
            M::RowDescription(body) => {
                Event::Columns(body.fields().map(|f| Ok((f.name().to_owned(), f.type_oid()))).collect()?)
            }
            M::ParameterDescription(body) => Event::Parameters(body.parameters().collect()?),
            M::DataRow(body) => {
                let cell = |range: Option<std::ops::Range<usize>>| Ok(range.map(|r| body.buffer()[r].to_vec()));
                Event::Row(body.ranges().map(cell).collect()?)
            }
            M::CommandComplete(body) => Event::Tag(body.tag()?.to_owned()),
            M::EmptyQueryResponse => Event::Empty,
            M::CopyInResponse(body) => Event::CopyIn(body.column_formats().count()?),
            M::NoData => Event::NoData,
            M::PortalSuspended => Event::Suspended,
            M::ParseComplete => Event::ParseComplete,
            M::BindComplete => Event::BindComplete,
            M::CloseComplete => Event::CloseComplete,
            M::ErrorResponse(body) => Event::Error(report(body.fields())?),
            M::NoticeResponse(body) => Event::Notice(report(body.fields())?),
            M::NotificationResponse(body) => Event::Notification {
                channel: body.channel()?.to_owned(),
                payload: body.message()?.to_owned(),
                pid: body.process_id(),
            },
            M::ParameterStatus(body) => {
                Event::Status { name: body.name()?.to_owned(), value: body.value()?.to_owned() }
            }
            M::ReadyForQuery(body) => Event::Ready(body.status()),
            _ => return Err(io::Error::other("a message that the tests do not expect")),
        })
    }

    /// The next message; an error where the connection ended.
    pub fn next(&mut self) -> io::Result<Event> {
        Client::event(self.message()?)
    }

    /// All messages up to and with ReadyForQuery.
    pub fn until_ready(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.next() {
                Ok(Event::Ready(status)) => {
                    events.push(Event::Ready(status));
                    return events;
                }
                Ok(event) => events.push(event),
                Err(error) => panic!("connection failed after {events:?}: {error}"),
            }
        }
    }

    /// A simple query to a server that may be killed: what came back, and whether ReadyForQuery was the last of it.
    pub fn try_simple(&mut self, sql: &str) -> (Vec<Event>, bool) {
        frontend::query(sql, &mut self.outgoing).unwrap();
        let bytes = self.outgoing.split();
        let mut events = Vec::new();
        if self.stream.write_all(&bytes).is_err() {
            return (events, false);
        }
        while let Ok(event) = self.next() {
            let is_last = matches!(event, Event::Ready(_));
            events.push(event);
            if is_last {
                return (events, true);
            }
        }
        (events, false)
    }

    /// Waits for a notification, past anything else; none when `patience` is over.
    pub fn notification(&mut self, patience: Duration) -> Option<(String, String)> {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let found = loop {
            match self.next() {
                Ok(Event::Notification { channel, payload, .. }) => break Some((channel, payload)),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        found
    }

    /// A simple query.
    pub fn simple(&mut self, sql: &str) -> Vec<Event> {
        frontend::query(sql, &mut self.outgoing).unwrap();
        self.send();
        self.until_ready()
    }

    /// A simple query that must succeed: its rows as text.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let text = |cell: Option<Vec<u8>>| cell.map(|bytes| String::from_utf8(bytes).unwrap());
        let row = |event| match event {
            Event::Row(cells) => Some(cells.into_iter().map(text).collect()),
            Event::Error(error) => panic!("{sql}: {error:?}"),
            _ => None,
        };
        self.simple(sql).into_iter().filter_map(row).collect()
    }

    /// A simple query that must succeed.
    pub fn run(&mut self, sql: &str) {
        self.rows(sql);
    }

    /// A simple query that must fail: the error.
    pub fn failure(&mut self, sql: &str) -> Report {
        let found = self.simple(sql).into_iter().find_map(|event| match event {
            Event::Error(report) => Some(report),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{sql} succeeded"))
    }

    pub fn write_parse(&mut self, name: &str, sql: &str, types: &[u32]) {
        frontend::parse(name, sql, types.iter().copied(), &mut self.outgoing).unwrap();
    }

    /// Text parameters, all results in one format.
    pub fn write_bind(&mut self, portal: &str, statement: &str, parameters: &[Option<&[u8]>], results: i16) {
        self.write_bind_as(portal, statement, &[0], parameters, &[results]);
    }

    pub fn write_bind_as(
        &mut self,
        portal: &str,
        statement: &str,
        formats: &[i16],
        parameters: &[Option<&[u8]>],
        results: &[i16],
    ) {
        let put = |value: &Option<&[u8]>, buffer: &mut BytesMut| match value {
            Some(bytes) => {
                buffer.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        };
        let (formats, results) = (formats.iter().copied(), results.iter().copied());
        frontend::bind(portal, statement, formats, parameters.iter(), put, results, &mut self.outgoing)
            .map_err(|_| "bind")
            .unwrap();
    }

    pub fn write_describe(&mut self, kind: u8, name: &str) {
        frontend::describe(kind, name, &mut self.outgoing).unwrap();
    }

    pub fn write_execute(&mut self, portal: &str, max_rows: i32) {
        frontend::execute(portal, max_rows, &mut self.outgoing).unwrap();
    }

    pub fn write_close(&mut self, kind: u8, name: &str) {
        frontend::close(kind, name, &mut self.outgoing).unwrap();
    }

    /// A simple query, to be sent with what is written beside it.
    pub fn write_query(&mut self, sql: &str) {
        frontend::query(sql, &mut self.outgoing).unwrap();
    }

    pub fn write_copy_data(&mut self, data: &[u8]) {
        frontend::CopyData::new(data).unwrap().write(&mut self.outgoing);
    }

    pub fn write_copy_done(&mut self) {
        frontend::copy_done(&mut self.outgoing);
    }

    /// A COPY that has begun to take rows.
    pub fn begin_copy(&mut self, sql: &str) {
        self.write_query(sql);
        self.send();
        match self.next().unwrap() {
            Event::CopyIn(_) => {}
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// The end of a COPY: what the server says to it.
    pub fn end_copy(&mut self) -> Vec<Event> {
        self.write_copy_done();
        self.send();
        self.until_ready()
    }

    pub fn write_sync(&mut self) {
        frontend::sync(&mut self.outgoing);
    }

    pub fn write_flush(&mut self) {
        frontend::flush(&mut self.outgoing);
    }

    /// One statement through Parse, Describe, Bind, Execute, Sync; parameters as text, results binary.
    pub fn extended(&mut self, sql: &str, parameters: &[Option<&[u8]>]) -> Vec<Event> {
        self.write_parse("", sql, &[]);
        self.write_bind("", "", parameters, 1);
        self.write_describe(b'P', "");
        self.write_execute("", 0);
        self.write_sync();
        self.send();
        self.until_ready()
    }

    /// Asks the server, over a connection of its own, to cancel what this one runs, and waits until it has.
    pub fn cancel(&self, address: SocketAddr) {
        let mut other = Client::raw(address);
        frontend::cancel_request(self.pid, self.secret, &mut other.outgoing);
        other.send();
        // the server closes once it has passed the request on
        let _ = other.stream.read(&mut [0]);
    }
}
