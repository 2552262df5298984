-- What is sold and for how much. Inventory owns it; others keep copies from `product-changes`.
--
-- collate "C" on every SKU of this database: rows are locked in SKU order, so SQL and Rust must agree on what that order is.
create table products (
    sku         text collate "C" not null,
    name        text not null,
    price_minor bigint not null,
    currency    text not null,
    sellable    boolean not null,
    row_version bigint not null,
    changed_at  timestamptz not null,
    constraint products_pk primary key (sku),
    constraint products_sku_form check (sku ~ '^[A-Za-z0-9._-]{1,64}$'),
    constraint products_price_not_negative check (price_minor >= 0),
    constraint products_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint products_row_version_positive check (row_version >= 1)
);

-- Grants go to the service's role, which is named like the owner that runs this (see the outbox crate's first migration).
-- No delete: a product that is no longer sold is not sellable, and orders still name it.
do $$
declare
    app text := regexp_replace(current_user, '_owner$', '_app');
begin
    execute format('grant select, insert, update on products to %I', app);
end
$$;
