-- What staff look for among all calls: those that failed, by their reason, and those that nobody
-- paid for. Both are few, and a settlement that did well writes neither index.
create index if not exists billing_usage_failed on billing_usage (day, provider, model, reason)
where status is null or status >= 400;
create index if not exists billing_usage_uncollected on billing_usage (closed_at desc)
where uncollected > 0;
