-- Aggregates whose rows the relay leaves alone until an operator releases them. Their rows move to the bucket
-- -1 - bucket, which no relay reads, so that skipping a million of them costs nothing.
create table outbox_aside (
    topic text not null,
    aggregateid text not null,
    since timestamptz not null default clock_timestamp(),
    failures integer not null,
    reason text not null
);

-- By hash, because an aggregate's id may be longer than an index entry.
create unique index outbox_aside_aggregate on outbox_aside (topic, md5(aggregateid));

do $$
declare
    service text := regexp_replace(current_user, '_owner$', '_app');
begin
    execute format('grant select, insert, update, delete on outbox_aside to %I', service);
    execute format('grant update (bucket) on outbox to %I', service);
end
$$;
