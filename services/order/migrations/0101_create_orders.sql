create table orders (
    id uuid constraint orders_pk primary key,
    customer_id text not null,
    tenant text,
    status text not null constraint orders_status_known
        check (status in ('placed', 'awaiting_payment', 'confirmed', 'rejected', 'cancelled')),
    reason text constraint orders_reason_known check (reason in ('customer', 'payment_failed', 'expired')),
    currency text not null constraint orders_currency_form check (currency ~ '^[A-Z]{3}$'),
    total_minor bigint not null constraint orders_total_not_negative check (total_minor >= 0),
    placed_at timestamptz not null,
    pay_until timestamptz,
    payment_id text,
    -- Grows by one with each change; every change is conditional on the version it was decided from.
    version bigint not null default 1,
    updated_at timestamptz not null,
    constraint orders_reason_when_cancelled check ((status = 'cancelled') = (reason is not null)),
    constraint orders_payment_when_confirmed check ((status = 'confirmed') = (payment_id is not null)),
    constraint orders_pay_until_when_awaiting check (status <> 'awaiting_payment' or pay_until is not null)
);

-- The list of a customer's own orders, newest first, by keyset.
create index orders_of_customer on orders (customer_id, placed_at desc, id desc);
-- What the expiry job looks for; small, because an order stays in this state for minutes.
create index orders_unpaid on orders (pay_until) where status = 'awaiting_payment';

create table order_lines (
    order_id uuid not null constraint order_lines_order references orders (id),
    position smallint not null,
    sku text not null,
    quantity integer not null constraint order_lines_quantity_positive check (quantity > 0),
    -- The price when the order was placed; later price changes don't touch it.
    unit_price_minor bigint not null constraint order_lines_price_not_negative check (unit_price_minor >= 0),
    constraint order_lines_pk primary key (order_id, position),
    constraint order_lines_sku_once unique (order_id, sku)
);

-- An order is never deleted, and what was ordered never changes: only what becomes of it does.
grant select, insert on orders to millrace_order_app;
grant update (status, reason, pay_until, payment_id, version, updated_at) on orders to millrace_order_app;
grant insert on order_lines to millrace_order_app;
