-- Calls without evidence are few; the sweep and the list for staff look for them each minute.
create index if not exists billing_usage_unknown on billing_usage (closed_at desc) where unknown;
