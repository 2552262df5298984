//! The context of what a request sets off.

use millrace_envelope::MessageContext;

use crate::auth::Caller;

/// What messages carry that are made on behalf of `caller`: actor, tenant and the current trace, whose id is the
/// correlation id.
#[must_use]
pub fn message_context(caller: &Caller) -> MessageContext {
    MessageContext { tenant: caller.tenant.clone(), ..actor_context(&caller.subject) }
}

/// The same for a caller without a token, such as a payment provider that signs its callback.
#[must_use]
pub fn actor_context(actor: &str) -> MessageContext {
    let work = MessageContext::of_own_work(millrace_telemetry::current_trace());
    MessageContext { actor: Some(actor.to_owned()), ..work }
}
