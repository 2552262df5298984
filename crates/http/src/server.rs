//! The server: what every request passes, in order, and how it starts and stops.
//!
//! | | layer | what it does |
//! |---|---|---|
//! | 1 | `home_runtime` | handlers run as if on the service's own runtime |
//! | 2 | `last_answer` | while the service stops, callers are sent to another connection |
//! | 3 | `trace` | server span, child of the caller's |
//! | 4 | `access` | duration metric, request record, one log line |
//! | 5 | `reply_form` | errors become replies, in the form asked for, logged once |
//! | 6 | `panic_guard` | a panic becomes a 500 |
//! | 7 | `limits` | header bytes; the deadline, which cancels the handler |
//! | 8 | the service's scopes, each with its `Authenticate` | who asks |
//! | 9 | extractors, handler | |
//!
//! A stop: [`RunningServer::drain`] goes on accepting for a while (load balancers need time to notice that
//! readiness is gone), closes the listener, lets requests in flight end within a budget, and leaves the admin port
//! open for the rest of the stop; [`RunningServer::close`] ends that too.

mod running;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{Server as ActixServer, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, Error, HttpServer};
use millrace_runtime::Clock;
use utoipa::openapi::OpenApi;

pub use running::{BoundServer, RunningServer};

use crate::admin::AdminRoutes;
use crate::auth::Verifier;
use crate::chain::Chain;
use crate::health::Health;
use crate::middleware::{
    access, home_runtime, last_answer, limits, no_route, panic_guard, reply_form, trace,
};
use crate::record::RequestLog;
use crate::settings::HttpSettings;
use crate::{admin, docs};

/// One thread answers the admin port: its few callers come every few seconds.
const ADMIN_WORKERS: usize = 1;
/// actix's own budget; ours is shorter and enforced by `drain`.
const ACTIX_STOP_SECONDS: u64 = 3600;

/// Why the server didn't start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address could not be listened on.
    #[error("address {address} could not be bound")]
    Bind {
        /// The address asked for.
        address: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
}

/// What the server needs besides its settings.
#[derive(Clone)]
pub struct ServerParts {
    /// The service's checks; decide readiness.
    pub health: Health,
    /// Checks tokens; without it no caller is let through.
    pub verifier: Option<Verifier>,
    /// Keeps records of requests.
    pub request_log: Option<Arc<dyn RequestLog>>,
    /// The API's description, shown at `/openapi.json` and `/docs/`.
    pub openapi: Option<OpenApi>,
    /// Endpoints for the admin port beside the probes, health and metrics.
    pub admin: Option<AdminRoutes>,
    /// Where time comes from.
    pub clock: Clock,
}

impl ServerParts {
    /// Only health, with the system's clock.
    #[must_use]
    pub fn new(health: Health) -> Self {
        let (verifier, request_log, openapi, admin) = (None, None, None, None);
        Self { health, verifier, request_log, openapi, admin, clock: Clock::system() }
    }
}

/// The HTTP server of a service.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Binds both ports. Nothing is answered before [`BoundServer::start`].
    ///
    /// `configure` runs once for each worker: state that is shared between requests is built outside and handed
    /// in, or it would be per worker. It must be called inside the tokio runtime that handlers shall use.
    ///
    /// # Errors
    /// When a port can't be bound.
    pub fn bind<F>(
        service: &'static str,
        settings: &HttpSettings,
        parts: ServerParts,
        configure: F,
    ) -> Result<BoundServer, ServerError>
    where
        F: Fn(&mut ServiceConfig) + Clone + Send + 'static,
    {
        let (listener, address) = listen(&settings.bind, settings.port)?;
        let (admin_listener, admin_address) = listen(&settings.bind, settings.admin_port)?;
        let chain = Arc::new(Chain::new(service, settings, &parts));
        let admin = admin_server(admin_listener, admin_address, &chain, parts.admin.clone())?;
        let main = HttpServer::new(move || app(&chain, &parts, configure.clone()))
            .workers(settings.workers)
            .max_connections(settings.connections_max)
            .keep_alive(settings.keep_alive)
            .client_request_timeout(settings.head_timeout)
            // A caller who hung up waits for no answer: the work is cancelled, as its deadline would do later.
            .h1_allow_half_closed(false)
            .shutdown_timeout(ACTIX_STOP_SECONDS)
            .disable_signals()
            .listen(listener)
            .map_err(|cause| ServerError::Bind { address: address.to_string(), cause })?
            .run();
        Ok(BoundServer::new(main, admin, address.port(), admin_address.port()))
    }
}

/// The chain. actix runs the layer that was wrapped last first, so it reads from the bottom up: 1 is outermost.
fn app<F>(
    chain: &Arc<Chain>,
    parts: &ServerParts,
    configure: F,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    > + use<F>,
>
where
    F: Fn(&mut ServiceConfig),
{
    let mut app = App::new().app_data(Arc::clone(chain));
    if let Some(verifier) = &parts.verifier {
        app = app.app_data(verifier.clone());
    }
    app.configure(|config| admin::probes(config, &parts.health))
        .configure(|config| {
            if let Some(document) = &parts.openapi {
                docs::configure(config, document);
            }
        })
        .configure(configure)
        .default_service(web::to(no_route))
        .wrap(from_fn(limits)) // 7
        .wrap(from_fn(panic_guard)) // 6
        .wrap(from_fn(reply_form)) // 5
        .wrap(from_fn(access)) // 4
        .wrap(from_fn(trace)) // 3
        .wrap(from_fn(last_answer)) // 2
        .wrap(from_fn(home_runtime)) // 1
}

fn admin_server(
    listener: TcpListener,
    address: SocketAddr,
    chain: &Arc<Chain>,
    routes: Option<AdminRoutes>,
) -> Result<ActixServer, ServerError> {
    let chain = Arc::clone(chain);
    let server = HttpServer::new(move || admin::app(&chain, routes.as_ref()))
        .workers(ADMIN_WORKERS)
        .shutdown_timeout(ACTIX_STOP_SECONDS)
        .disable_signals()
        .listen(listener)
        .map_err(|cause| ServerError::Bind { address: address.to_string(), cause })?;
    Ok(server.run())
}

fn listen(host: &str, port: u16) -> Result<(TcpListener, SocketAddr), ServerError> {
    let failed = |cause| ServerError::Bind { address: format!("{host}:{port}"), cause };
    let listener = TcpListener::bind((host, port)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
