"""
How a test that really commits leaves the database as migrations made it.

Django's own way, TRUNCATE, is refused here: money tables cannot be truncated, and tables
that Django does not manage refer to those it does. So what migrations wrote is kept aside,
and afterwards every table that has rows is emptied and filled again, triggers off.
"""

from __future__ import annotations

from django.db import connection

KEEP = """
drop schema if exists seed cascade;
create schema seed;
do $$
declare name text; filled boolean;
begin
  for name in
    select c.relname from pg_class c
    where c.relnamespace = 'public'::regnamespace
      and c.relkind in ('r', 'p') and not c.relispartition
  loop
    execute format('select exists (select from public.%I)', name) into filled;
    if filled then
      execute format('create table seed.%I as table public.%I', name, name);
    end if;
  end loop;
end $$;

create or replace function seed.restore() returns void language plpgsql as $$
declare name text; filled boolean; kept boolean; columns text;
begin
  perform set_config('session_replication_role', 'replica', true);
  perform set_config('lock_timeout', '10s', true);
  for name, kept, columns in
    select c.relname, to_regclass(format('seed.%I', c.relname)) is not null,
      (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '')
    from pg_class c
    where c.relnamespace = 'public'::regnamespace
      and c.relkind in ('r', 'p') and not c.relispartition
  loop
    execute format('select exists (select from public.%I)', name) into filled;
    if filled then
      execute format('delete from public.%I', name);
    end if;
    if kept then
      execute format('insert into public.%I (%s) overriding system value select %s from seed.%I',
                     name, columns, columns, name);
    end if;
  end loop;
end $$;
"""


def keep() -> None:
    """Remember the rows that migrations made."""
    with connection.cursor() as cursor:
        cursor.execute(KEEP)


def restore() -> None:
    """Bring those rows back, and nothing else."""
    with connection.cursor() as cursor:
        cursor.execute("select seed.restore()")
