-- How a message ended: handled, or given up with a dead letter in the outbox. Both are final, and a repeat of either
-- is no longer new. (A constant default is stored once, so this rewrites nothing.)
alter table inbox add column outcome text not null default 'done' check (outcome in ('done', 'dead'));
