-- What became of each order's wish for stock. The order's id is the key: an order has one reservation.
--
-- `cancelled` is a cancellation that came before its reservation was asked for; it turns into `refused` when the
-- late request arrives.
create table reservations (
    order_id            uuid not null,
    status              text not null,
    reason              text,
    held_at             timestamptz,
    changed_at          timestamptz not null,
    overdue_reported_at timestamptz,
    constraint reservations_pk primary key (order_id),
    constraint reservations_status_known
        check (status in ('held', 'confirmed', 'released', 'rejected', 'refused', 'cancelled')),
    constraint reservations_held_at_known
        check ((held_at is not null) = (status in ('held', 'confirmed', 'released')))
);

-- The report of overdue holds looks for the oldest that it hasn't reported.
create index reservations_unreported on reservations (held_at)
    where status = 'held' and overdue_reported_at is null;

-- What a reservation holds, held or sold; nothing is listed for one that never held anything.
create table reservation_lines (
    order_id uuid not null,
    sku      text collate "C" not null,
    quantity bigint not null,
    constraint reservation_lines_pk primary key (order_id, sku),
    constraint reservation_lines_reservation_fk foreign key (order_id) references reservations (order_id),
    constraint reservation_lines_stock_fk foreign key (sku) references stock (sku),
    constraint reservation_lines_quantity_positive check (quantity >= 1)
);

do $$
declare
    app text := regexp_replace(current_user, '_owner$', '_app');
begin
    execute format('grant select, insert, update on reservations to %I', app);
    execute format('grant select, insert on reservation_lines to %I', app);
end
$$;
