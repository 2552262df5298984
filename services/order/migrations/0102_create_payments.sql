-- Every payment result that an order has taken notice of. It keeps a result that came before the reservation's
-- outcome, and it is the memory that lets no result count twice, however late it is repeated.
create table payments (
    order_id uuid not null constraint payments_order references orders (id),
    payment_id text not null,
    result text not null constraint payments_result_known check (result in ('succeeded', 'failed')),
    amount_minor bigint,
    currency text,
    failure text,
    state text not null constraint payments_state_known
        check (state in ('kept', 'applied', 'ignored', 'refund_due')),
    -- The order in which they came, which is the order in which kept ones are applied.
    position bigint generated always as identity,
    constraint payments_pk primary key (order_id, payment_id, result),
    constraint payments_amount_when_succeeded
        check ((result = 'succeeded') = (amount_minor is not null and currency is not null)),
    constraint payments_failure_when_failed check ((result = 'failed') = (failure is not null))
);

grant select, insert on payments to millrace_order_app;
grant update (state) on payments to millrace_order_app;
