//! The context of what a request sets off.

use millrace_envelope::MessageContext;

use crate::auth::Caller;

/// What messages carry that are made on behalf of `caller`: actor, tenant and the current trace. The correlation
/// id is the trace's id: one request, one id, wherever somebody looks.
#[must_use]
pub fn message_context(caller: &Caller) -> MessageContext {
    MessageContext { tenant: caller.tenant.clone(), ..actor_context(&caller.subject) }
}

/// The same for a caller without a token, such as a payment provider that signs its callback.
#[must_use]
pub fn actor_context(actor: &str) -> MessageContext {
    let trace = millrace_telemetry::current_trace();
    MessageContext {
        actor: Some(actor.to_owned()),
        tenant: None,
        correlation_id: trace.trace_id().map(str::to_owned),
        causation_id: None,
        trace,
    }
}
