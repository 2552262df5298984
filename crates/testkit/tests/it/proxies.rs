//! Faults between a client and a server that both live on.

use std::time::{Duration, Instant};

use millrace_testkit::{FaultProxy, Stack, TopicSpec, Way, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(10);
const BRIEF: Duration = Duration::from_millis(150);

/// A client and the server's end of its connection, with a proxy between them.
async fn pair() -> (FaultProxy, TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap().port()).unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (proxy, listener, client, server)
}

/// What arrives of one byte.
async fn arrives(from: &mut TcpStream, to: &mut TcpStream, within: Duration) -> Option<u8> {
    from.write_all(b"x").await.ok()?;
    tokio::time::timeout(within, to.read_u8()).await.ok()?.ok()
}

#[tokio::test]
async fn one_way_freezes_and_the_other_goes_on() {
    let (proxy, _listener, mut client, mut server) = pair().await;
    assert_eq!(arrives(&mut client, &mut server, LIMIT).await, Some(b'x'));
    proxy.freeze(Way::ToServer);
    assert_eq!(arrives(&mut client, &mut server, BRIEF).await, None);
    assert_eq!(arrives(&mut server, &mut client, LIMIT).await, Some(b'x'));
    proxy.freeze(Way::ToClient);
    assert_eq!(server.read_u8().await.unwrap(), b'x', "what was held comes after the thaw");
    assert_eq!(arrives(&mut server, &mut client, BRIEF).await, None);
    proxy.pass();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_cut_resets_and_refuses_until_it_is_over() {
    let (proxy, listener, mut client, mut server) = pair().await;
    wait_until("it is counted", LIMIT, || async { proxy.connections() == 1 }).await;
    proxy.cut();
    assert!(client.read_u8().await.is_err());
    assert!(server.read_u8().await.is_err());
    let refused = async { TcpStream::connect(proxy.address()).await?.read_u8().await };
    assert!(refused.await.is_err(), "the reset comes while it connects or later");
    wait_until("none is left", LIMIT, || async { proxy.connections() == 0 }).await;
    proxy.pass();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(arrives(&mut client, &mut server, LIMIT).await, Some(b'x'));
    proxy.reset();
    assert!(client.read_u8().await.is_err(), "the old one is reset");
    assert!(TcpStream::connect(proxy.address()).await.is_ok());
    assert!(listener.accept().await.is_ok(), "a new one passes");
}

#[tokio::test]
async fn a_delay_holds_every_byte_and_an_end_passes() {
    let (proxy, _listener, mut client, mut server) = pair().await;
    proxy.delay(BRIEF);
    let started = Instant::now();
    assert_eq!(arrives(&mut client, &mut server, LIMIT).await, Some(b'x'));
    assert!(started.elapsed() >= BRIEF, "{:?}", started.elapsed());
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    assert_eq!(arrives(&mut server, &mut client, LIMIT).await, Some(b'x'), "one half is open");
}

#[tokio::test]
async fn a_client_that_starts_at_the_proxy_stays_behind_it_and_others_feel_nothing() {
    let stack = Stack::private().await.unwrap();
    let topics = stack.topics(&stack.namespace(), &[TopicSpec::new("kept", 1)]).await;
    let proxy = stack.kafka_proxy();
    let mut config = stack.access().client();
    config.set("bootstrap.servers", proxy.address()).set("message.timeout.ms", "2000");
    let behind: rdkafka::producer::FutureProducer = config.create().unwrap();
    let topic = topics.names()[0].as_str();
    let send = || async {
        let record = rdkafka::producer::FutureRecord::to(topic).key("k").payload("1");
        behind.send(record, Duration::ZERO).await.map(|_| ()).map_err(|(error, _)| error)
    };
    send().await.unwrap();
    assert!(proxy.connections() > 0);
    proxy.freeze(Way::ToClient);
    assert!(send().await.is_err(), "no acknowledgement comes through");
    stack.produce(topic, b"k", Some(b"2"), &[]).await;
    proxy.pass();
    wait_until("it is through again", LIMIT, send).await;
}
