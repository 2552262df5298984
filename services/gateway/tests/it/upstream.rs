//! An upstream that does what a test says: answers, fails, keeps silent, breaks off. One server with a port for
//! each service, because what matters here is the gateway's side of the wire.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures::StreamExt;
use millrace_common::runtime::Tasks;
use tokio::sync::watch;

pub(crate) const NAMES: [&str; 4] = ["order", "inventory", "audit", "log-ingest"];

/// What it does with the next requests.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A status, headers, a body of known length.
    Whole(u16, Vec<(&'static str, &'static str)>, Bytes),
    /// Pieces without a length.
    Pieces(Vec<Bytes>),
    /// The pieces, of which the last waits for [`FakeUpstream::release`].
    HeldPieces(Vec<Bytes>),
    /// The pieces, then the connection breaks, after [`FakeUpstream::release`].
    Broken(Vec<Bytes>),
    /// The usual answer, after [`FakeUpstream::release`].
    Held,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) upstream: &'static str,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A running one; it ends when dropped.
pub(crate) struct FakeUpstream {
    pub(crate) ports: [u16; 4],
    state: Arc<State>,
    handle: ServerHandle,
}

struct State {
    ports: [u16; 4],
    answer: Mutex<Answer>,
    seen: Mutex<Vec<Seen>>,
    released: watch::Sender<bool>,
}

pub(crate) const USUAL: &str = r#"{"code":"ok","message":"from upstream","data":null}"#;

pub(crate) fn usual() -> Answer {
    status(200, USUAL)
}

pub(crate) fn status(status: u16, body: &'static str) -> Answer {
    Answer::Whole(
        status,
        vec![("content-type", "application/json")],
        Bytes::from_static(body.as_bytes()),
    )
}

impl FakeUpstream {
    pub(crate) fn start(tasks: &Tasks) -> Self {
        let listeners = NAMES.map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let ports = [0, 1, 2, 3].map(|index: usize| listeners[index].local_addr().unwrap().port());
        let state = Arc::new(State {
            ports,
            answer: Mutex::new(usual()),
            seen: Mutex::default(),
            released: watch::Sender::new(false),
        });
        let data = Data::from(Arc::clone(&state));
        let mut server = HttpServer::new(move || {
            App::new().app_data(data.clone()).default_service(web::to(take))
        })
        .workers(1)
        .disable_signals()
        .shutdown_timeout(0);
        for listener in listeners {
            server = server.listen(listener).unwrap();
        }
        let server = server.run();
        let handle = server.handle();
        tasks.spawn("fake upstream", async move { drop(server.await) });
        Self { ports, state, handle }
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *lock(&self.state.answer) = answer;
    }

    pub(crate) fn release(&self) {
        self.state.released.send_replace(true);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream was asked")
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        // The command is sent at once; the future would only wait for the end.
        drop(self.handle.stop(false));
    }
}

async fn take(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    let port = request.app_config().local_addr().port();
    let index = state.ports.iter().position(|own| *own == port).unwrap();
    let text = |value: &actix_web::http::header::HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    };
    let headers = request.headers().iter();
    lock(&state.seen).push(Seen {
        upstream: NAMES[index],
        method: request.method().to_string(),
        target: request.uri().to_string(),
        headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
    });
    let answer = lock(&state.answer).clone();
    let released = state.released.subscribe();
    give(answer, released).await
}

async fn give(answer: Answer, mut released: watch::Receiver<bool>) -> HttpResponse {
    let pieces = |pieces: Vec<Bytes>| futures::stream::iter(pieces.into_iter().map(Ok));
    match answer {
        Answer::Whole(status, headers, body) => {
            let mut builder = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            for header in headers {
                builder.append_header(header);
            }
            builder.body(body)
        }
        Answer::Pieces(all) => HttpResponse::Ok().streaming::<_, std::io::Error>(pieces(all)),
        Answer::HeldPieces(mut all) => {
            let last = all.pop().unwrap();
            let last = futures::stream::once(async move {
                released.wait_for(|released| *released).await.map(|_| ()).unwrap_or(());
                Ok(last)
            });
            HttpResponse::Ok().streaming::<_, std::io::Error>(pieces(all).chain(last))
        }
        Answer::Broken(all) => {
            let end = futures::stream::once(async move {
                released.wait_for(|released| *released).await.map(|_| ()).unwrap_or(());
                Err(std::io::Error::other("broken on purpose"))
            });
            HttpResponse::Ok().no_chunking(1_000_000).streaming(pieces(all).chain(end))
        }
        Answer::Held => {
            released.wait_for(|released| *released).await.map(|_| ()).unwrap_or(());
            HttpResponse::Ok().content_type("application/json").body(USUAL)
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
