-- Calls whose provider told a usage that contradicts itself; staff looks into them.
create index if not exists billing_usage_quarantine on billing_usage (closed_at desc)
where reason = 'usage_contradiction';
