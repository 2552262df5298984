-- The order service's copy of products and prices; inventory owns them and publishes product-changes.
create table products (
    sku text constraint products_pk primary key,
    name text not null,
    price_minor bigint not null constraint products_price_not_negative check (price_minor >= 0),
    currency text not null constraint products_currency_form check (currency ~ '^[A-Z]{3}$'),
    sellable boolean not null,
    -- Inventory's version of the product: a lower one that comes late changes nothing.
    row_version bigint not null
);

grant select, insert, update on products to millrace_order_app;
