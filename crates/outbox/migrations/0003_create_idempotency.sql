-- Replies by idempotency key, stored in the transaction of their effect. status and body are null only between
-- two statements of that transaction.
create table idempotency (
    caller text not null,
    key text not null,
    fingerprint bytea not null,
    status smallint,
    body text,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (caller, key)
);

create index idempotency_expires_at on idempotency (expires_at);

do $$
begin
    execute format(
        'grant select, insert, update, delete on idempotency to %I', regexp_replace(current_user, '_owner$', '_app')
    );
end
$$;
