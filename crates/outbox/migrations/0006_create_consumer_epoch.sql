-- Who owns a partition, as a number that only rises. A sink without an inbox compares it in its transaction.
create table consumer_epoch (
    consumer_group text not null,
    topic text not null,
    partition integer not null,
    epoch bigint not null,
    drawn_at timestamptz not null default clock_timestamp(),
    primary key (consumer_group, topic, partition)
);

-- Locking the row for a check needs the right to update; deleting is for nobody, a number that falls is no fence.
do $$
begin
    execute format(
        'grant select, insert, update on consumer_epoch to %I', regexp_replace(current_user, '_owner$', '_app')
    );
end
$$;
