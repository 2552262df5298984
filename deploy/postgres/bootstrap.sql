-- Roles and databases, one pair and one each per service. Repeating it changes nothing but passwords.
--
--   psql -d postgres [-v services='order inventory'] [-v passwords_file=passwords.json] -f bootstrap.sql
--
-- For service x: database millrace_x, owned by millrace_x_owner (migrations run as it), used by millrace_x_app (what the
-- service runs as: it may connect and make temporary tables; what it may read and write is granted table by table
-- in the migrations). No service's role can enter another service's database.
-- passwords_file holds {"millrace_x_owner": "...", ...}; psql reads it itself, so no password appears in a process
-- list or in the shell's history. A role that it doesn't name keeps the password it has.
-- Run it as a superuser. PostgreSQL 15 or newer (older ones let every role create tables in schema public).
\set ON_ERROR_STOP on
set client_min_messages = warning;

\if :{?services}
\else
  \set services 'order inventory audit logs'
\endif
\if :{?passwords_file}
  \set passwords `cat :'passwords_file'`
\else
  \set passwords '{}'
\endif

-- Statements are built from the list and run one by one: CREATE ROLE and CREATE DATABASE know no IF NOT EXISTS.
-- The advisory lock keeps two runs (two test programs) from creating the same role at once.
select pg_advisory_lock(hashtext('millrace bootstrap')) \g /dev/null

create temporary table bootstrap_role as
  select service, kind, format('millrace_%s_%s', service, kind) as role
  from regexp_split_to_table(trim(:'services'), '\s+') as service
  cross join unnest(array['owner', 'app']) as kind;

select format('create role %I login', role)
from bootstrap_role b
where not exists (select from pg_roles r where r.rolname = b.role)
\gexec

select format('alter role %I password %L', role, (:'passwords')::jsonb ->> role)
from bootstrap_role
where (:'passwords')::jsonb ? role
\gexec

select format('create database %I owner %I', 'millrace_' || service, role)
from bootstrap_role b
where kind = 'owner'
  and not exists (select from pg_database d where d.datname = 'millrace_' || b.service)
\gexec

select format('revoke all on database %I from public', 'millrace_' || service)
from bootstrap_role
where kind = 'owner'
\gexec

select format('grant connect, temporary on database %I to %I', 'millrace_' || service, role)
from bootstrap_role
\gexec

select pg_advisory_unlock(hashtext('millrace bootstrap')) \g /dev/null
