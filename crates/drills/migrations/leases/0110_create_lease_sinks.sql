-- Two sinks of a lease drill, and neither has a key that would keep a unit from being done twice: that is the fence's work.
--
-- `effects` is written in transactions that begin with the fence. `position` is drawn while the fence's row is locked, so
-- that within one lease it is the order of the commits.
create table effects (
    position bigint generated always as identity primary key,
    lease text not null,
    unit bigint not null,
    token bigint not null,
    holder text not null
);

create index effects_lease on effects (lease, unit);

-- `register` knows nothing of the fence: it keeps the token beside the value and compares. Its log is what it took.
create table register (
    lease text primary key,
    unit bigint not null,
    fence bigint not null,
    holder text not null
);

create table register_log (
    position bigint generated always as identity primary key,
    lease text not null,
    unit bigint not null,
    token bigint not null,
    holder text not null
);

create function log_register() returns trigger language plpgsql as $$
begin
    insert into public.register_log (lease, unit, token, holder) values (new.lease, new.unit, new.fence, new.holder);
    return null;
end
$$;

create trigger log_register after insert or update on register for each row execute function log_register();

do $$
declare
    app text := regexp_replace(current_user, '_owner$', '_app');
begin
    execute format('grant select, insert on effects, register_log to %I', app);
    execute format('grant select, insert, update on register to %I', app);
end
$$;
