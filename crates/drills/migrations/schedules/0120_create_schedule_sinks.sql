-- What tasks of a schedule drill have done. No key keeps an occurrence from taking effect twice: that is the scheduler's
-- work.
create table fired (
    position bigint generated always as identity primary key,
    task text not null,
    instant timestamptz not null,
    worker text not null
);

-- Every message that was ever appended; the relay deletes its own from the outbox.
create table dispatched (
    position bigint generated always as identity primary key,
    payload text not null
);

create function log_dispatch() returns trigger language plpgsql security definer as $$
begin
    insert into public.dispatched (payload) values (new.payload);
    return null;
end
$$;

create trigger log_dispatch after insert on outbox for each row execute function log_dispatch();

do $$
begin
    execute format('grant select, insert on fired to %I', regexp_replace(current_user, '_owner$', '_app'));
end
$$;
