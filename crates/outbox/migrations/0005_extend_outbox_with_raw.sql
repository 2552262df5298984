-- A record that came from elsewhere and is passed on byte for byte: a dead letter. One column and not three, because
-- a null key, a null value and a null header are all records, and «is null» must mean «this row is an event».
-- src/raw.rs says how it is written. The other columns of such a row are not its content: payload is empty, and change
-- data capture must leave the row to the relay.
alter table outbox add column raw bytea;
