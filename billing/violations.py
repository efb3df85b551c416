"""
The queries behind the invariants: each returns (workspace id or null, what is wrong).

Parameters: `through`, the transfer up to which a checkpoint is trusted; `since`, the first
day whose usage is looked at; `month`, the first day of this month; `retained`, from when
on transfers must have a usage record; `newest`, the newest checkpoint; `full`.
"""

from __future__ import annotations

from typing import Final

# Sums of transfers per account: a checkpoint's, and what came after it.
SUMS: Final = """
with moved as (
    select account_id, sum(debit) as debits, sum(credit) as credits
    from (
        select debit_id as account_id, amount as debit, 0 as credit
        from billing_transfer where id > %(through)s
        union all
        select credit_id, 0, amount from billing_transfer where id > %(through)s
        union all
        select account_id, debits, credits from billing_ledgercheckpoint
        where through = %(through)s
    ) leg
    group by account_id
)
"""

UNBALANCED: Final = (
    SUMS
    + """
select null, a.asset || ': debits ' || sum(m.debits) || ', credits ' || sum(m.credits)
from moved m left join billing_account a on a.id = m.account_id
group by a.asset having sum(m.debits) <> sum(m.credits) or a.asset is null
"""
)
MALFORMED: Final = """
select coalesce(d.workspace_id, c.workspace_id), 'transfer ' || t.id || ' is no transfer'
from billing_transfer t
left join billing_account d on d.id = t.debit_id
left join billing_account c on c.id = t.credit_id
where t.id > %(through)s
    and (d.asset is distinct from t.asset or c.asset is distinct from t.asset
         or t.amount <= 0 or t.debit_id = t.credit_id)
"""
# A conversion is whole or not at all, and nothing else moves a trading account.
CONVERSIONS: Final = """
select coalesce(d.workspace_id, r.workspace_id), 'conversion ' || c.source || ' gives '
    || c.amount || ' for ' || c.gross || ' less ' || c.spread || ', its transfers say '
    || t.given || ' for ' || t.received || ' and ' || t.spread
from billing_conversion c
left join billing_account d on d.id = c.debit_id
left join billing_account r on r.id = c.credit_id
cross join lateral (
    select
        coalesce(sum(amount) filter (
            where t.kind = 'conversion.out' and t.debit_id = c.debit_id
                and k.kind = 'trading' and k.asset = d.asset), 0) as given,
        coalesce(sum(amount) filter (
            where t.kind = 'conversion.in' and t.credit_id = c.credit_id
                and b.kind = 'trading' and b.asset = r.asset), 0) as received,
        coalesce(sum(amount) filter (
            where t.kind = 'conversion.spread' and b.kind = 'trading' and b.asset = r.asset
                and k.kind = 'fx_spread'), 0) as spread
    from billing_transfer t
    join billing_account b on b.id = t.debit_id
    join billing_account k on k.id = t.credit_id
    where t.kind in ('conversion.out', 'conversion.in', 'conversion.spread')
        and t.source = c.source
) t
where (c.amount, c.gross - c.spread, c.spread) <> (t.given, t.received, t.spread)
    or c.gross <> div(c.amount * c.numerator, c.denominator)
union all
select coalesce(b.workspace_id, k.workspace_id), 'transfer ' || t.id || ' is half a conversion'
from billing_transfer t
join billing_account b on b.id = t.debit_id
join billing_account k on k.id = t.credit_id
where t.id > %(through)s and t.kind not like 'usage.%%'
    and (b.kind = 'trading' or k.kind = 'trading' or t.kind like 'conversion.%%')
    and (t.kind not like 'conversion.%%'
         or not exists (select from billing_conversion c where c.source = t.source))
"""
COUNTERS: Final = (
    SUMS
    + """
select a.workspace_id, 'account ' || a.id || ' counts ' || a.credits_posted || ' in and '
    || a.debits_posted || ' out, its transfers say ' || coalesce(m.credits, 0) || ' and '
    || coalesce(m.debits, 0)
from billing_account a left join moved m on m.account_id = a.id
where a.bounded and (a.credits_posted <> coalesce(m.credits, 0)
                     or a.debits_posted <> coalesce(m.debits, 0))
"""
)
PENDING: Final = """
select a.workspace_id, 'account ' || a.id || ' has ' || a.debits_pending
    || ' pending, its holds say ' || coalesce(h.amount, 0)
from billing_account a
left join (
    select account_id, sum(amount) as amount
    from (
        select account_id, amount - granted as amount from billing_hold
        union all
        select a.granted_id, h.granted from billing_hold h
        join billing_account a on a.id = h.account_id
        union all
        select account_id, amount from billing_fundhold
    ) part
    group by account_id
) h on h.account_id = a.id
where a.debits_pending <> coalesce(h.amount, 0)
"""
HELD: Final = """
select a.workspace_id, 'account ' || a.id || ' counts ' || a.held || ' held, its holds say '
    || coalesce(h.nanos, 0)
from billing_account a
left join (
    select usd_account_id, sum(amount::numeric * unit_nanos) as nanos
    from billing_hold group by 1
) h on h.usd_account_id = a.id
where a.held <> coalesce(h.nanos, 0)
union all
select null, 'key ' || m.key_id || ' counts ' || m.held || ' held, its holds say '
    || coalesce(h.nanos, 0)
from billing_keymeter m
left join (
    select key_id, sum(amount::numeric * unit_nanos) as nanos from billing_hold group by 1
) h on h.key_id = m.key_id
where m.held <> coalesce(h.nanos, 0)
"""
# What is owed is what is booked as owed: nothing else moves the receivable.
DEBTS: Final = """
select null, 'debts are ' || d.nanos || ', the receivable says ' || r.nanos
from (select coalesce(sum(owed - repaid), 0) as nanos from billing_claim) d
cross join (
    select coalesce(sum(case when t.debit_id = a.id then t.amount else -t.amount end), 0)
        as nanos
    from billing_account a join billing_transfer t on a.id in (t.debit_id, t.credit_id)
    where a.workspace_id is null and a.kind = 'receivable' and a.asset = 'USD'
        and t.kind not like 'usage.%%'
) r
where d.nanos <> r.nanos
"""
BELOW_FLOOR: Final = """
select workspace_id, 'account ' || id || ' has ' || (credits_posted - debits_posted)
    || ', its floor is ' || floor
from billing_account where bounded and credits_posted - debits_posted < floor
"""
# Windows in force only: one of an earlier month begins anew with the next admission.
WINDOWS: Final = """
with spent as (
    select workspace_id, key_id, day, least(cost, charged::numeric * unit_nanos) as nanos
    from billing_usage where day >= %(month)s
    union all
    select workspace_id, key_id, day, amount::numeric * unit_nanos
    from billing_hold where day >= %(month)s
), used as (
    select workspace_id, key_id, day, sum(nanos) as nanos from spent group by 1, 2, 3
)
select a.workspace_id, 'account ' || a.id || ' counts ' || a.day_used || ' and '
    || a.month_used || ' in its windows, usage and holds say '
    || coalesce(sum(u.nanos) filter (where u.day = a.day), 0) || ' and '
    || coalesce(sum(u.nanos), 0)
from billing_account a left join used u on u.workspace_id = a.workspace_id
where a.kind = 'paid' and a.asset = 'USD' and a.day >= %(month)s
group by a.id
having a.day_used <> coalesce(sum(u.nanos) filter (where u.day = a.day), 0)
    or a.month_used <> coalesce(sum(u.nanos), 0)
union all
select null, 'key ' || m.key_id || ' counts ' || m.day_used || ' and ' || m.month_used
    || ' in its windows, usage and holds say '
    || coalesce(sum(u.nanos) filter (where u.day = m.day), 0) || ' and '
    || coalesce(sum(u.nanos), 0)
from billing_keymeter m left join used u on u.key_id = m.key_id
where m.day >= %(month)s
group by m.key_id
having m.day_used <> coalesce(sum(u.nanos) filter (where u.day = m.day), 0)
    or m.month_used <> coalesce(sum(u.nanos), 0)
"""
UNPROVEN: Final = """
select u.workspace_id, 'usage ' || u.id || ' was charged without an attempt'
from billing_usage u
where u.day >= %(since)s and u.cost > 0
    and not exists (
        select from proxy_attempt a where a.request_id = u.id and a.day >= %(since)s - 1
    )
union all
select null, 'request ' || request_id || ' was won by ' || count(*) || ' attempts'
from proxy_attempt where day >= %(since)s and outcome = 'won'
group by request_id having count(*) > 1
"""
UNADMITTED: Final = """
select null, 'request ' || a.request_id || ' reached ' || a.provider || ' without a hold'
from proxy_attempt a
where a.day >= %(since)s
    and not exists (select from billing_hold h where h.id = a.request_id)
    and not exists (
        select from billing_usage u where u.id = a.request_id and u.day >= %(since)s - 1
    )
"""
# Of a corrected call this is about what it was booked at before.
HALF_BOOKED: Final = """
select u.workspace_id, 'usage ' || u.id || ' charges ' || u.charged || ' and loses '
    || u.uncollected || ', its transfers say ' || t.charged || ' and ' || t.uncollected
from billing_usage u left join billing_revision r on r.id = u.id
cross join lateral (
    select coalesce(sum(amount) filter (where kind = 'usage.granted'), 0) as granted,
        coalesce(sum(amount) filter (where kind in ('usage.granted', 'usage.paid')), 0)
            as charged,
        coalesce(sum(amount) filter (where kind = 'usage.uncollected'), 0) as uncollected
    from billing_transfer
    where kind in ('usage.granted', 'usage.paid', 'usage.uncollected') and source = u.id
) t
where u.day >= %(since)s
    and (coalesce(r.old_granted, u.granted), coalesce(r.old_charged, u.charged),
         coalesce(r.old_uncollected, u.uncollected)) <> (t.granted, t.charged, t.uncollected)
union all
select d.workspace_id, 'transfer ' || t.id || ' has no usage record'
from billing_transfer t join billing_account d on d.id = t.debit_id
where t.kind like 'usage.%%' and t.id > %(through)s and t.at >= %(retained)s
    and t.at >= %(since)s
    and not exists (select from billing_usage u where u.id = t.source)
    and not exists (select from billing_revision r where r.id = t.source)
"""
# A correction's transfers are the difference that it made, and its record says what it says.
# The kinds are named one by one: the index has them, a pattern would read every transfer.
REVISED: Final = """
with leg as (
    select id, source, debit_id, credit_id, split_part(kind, '.', 3) as name,
        case split_part(kind, '.', 2) when 'further' then amount else -amount end as units
    from billing_transfer
    where kind in ('usage.further.granted', 'usage.further.paid', 'usage.further.uncollected',
                   'usage.refund.granted', 'usage.refund.paid', 'usage.refund.uncollected')
), moved as (
    select source, coalesce(sum(units) filter (where name = 'granted'), 0) as granted,
        coalesce(sum(units) filter (where name <> 'uncollected'), 0) as charged,
        coalesce(sum(units) filter (where name = 'uncollected'), 0) as uncollected
    from leg group by source
)
select r.workspace_id, 'correction ' || r.id || ' moves ' || r.charged - r.old_charged || ' and '
    || r.uncollected - r.old_uncollected || ', its transfers say ' || coalesce(m.charged, 0)
    || ' and ' || coalesce(m.uncollected, 0)
from billing_revision r left join moved m on m.source = r.id
where (r.granted - r.old_granted, r.charged - r.old_charged, r.uncollected - r.old_uncollected)
    <> (coalesce(m.granted, 0), coalesce(m.charged, 0), coalesce(m.uncollected, 0))
union all
select r.workspace_id, 'correction ' || r.id || ' is not what its usage record says'
from billing_revision r join billing_usage u on u.id = r.id and u.day = r.day
where (r.cost, r.granted, r.charged, r.uncollected, r.source)
    <> (u.cost, u.granted, u.charged, u.uncollected, u.source)
union all
select coalesce(d.workspace_id, c.workspace_id), 'transfer ' || l.id || ' has no correction'
from leg l join billing_account d on d.id = l.debit_id join billing_account c on c.id = l.credit_id
where not exists (select from billing_revision r where r.id = l.source)
"""
TWICE: Final = """
select h.workspace_id, 'hold ' || h.id || ' is open and closed'
from billing_hold h join billing_usage u on u.id = h.id
union all
select min(workspace_id), 'usage ' || id || ' exists ' || count(*) || ' times'
from billing_usage where day >= %(since)s
group by id having count(*) > 1
"""
OVERDUE: Final = """
select workspace_id, 'hold ' || id || ' should have been swept'
from billing_hold where expires_at < billing_now() - interval '3 minutes'
"""
# Estimates are bounded by their hold; what nothing proves is not charged.
MISPRICED: Final = """
with priced as (
    select u.*, ceil((
        u.input_tokens::numeric * p.prompt
        + u.cached_tokens::numeric * coalesce(p.cached_prompt, p.prompt)
        + u.cache_write_tokens::numeric * coalesce(p.cache_write, p.prompt)
        + u.output_tokens::numeric * p.completion
        + u.searches::numeric * coalesce(p.web_search, 0)
        + coalesce(p.per_call, 0)
        + case when u.pictures = 0 then 0
            when coalesce(p.image, '{}') = '{}' then (u.pictures - 1) * p.per_call
            else u.pictures * (p.image -> u.picture_size ->> u.picture_quality)::numeric end
    ) / 1000) as exact
    from billing_usage u left join billing_price p on p.id = u.price_id
    where u.day >= %(since)s and u.state in ('settled', 'late')
        and (u.cost > 0 or u.source <> 'none')
)
select workspace_id, 'usage ' || id || ' costs ' || cost || ' and charges '
    || charged + uncollected || ' of ' || asset || ', its price version says '
    || coalesce(exact::text, 'nothing')
from priced
where cost is distinct from case
        when exact > hold::numeric * unit_nanos and source in ('checkpoint', 'count')
        then hold::numeric * unit_nanos else exact end
    or charged + uncollected <> ceil(cost::numeric / unit_nanos)
"""
REPLAYED: Final = """
select a.workspace_id, 'the checkpoint of account ' || c.account_id || ' is not its transfers'
from billing_ledgercheckpoint c
join billing_account a on a.id = c.account_id
left join lateral (
    select coalesce(sum(amount) filter (where debit_id = c.account_id), 0) as debits,
        coalesce(sum(amount) filter (where credit_id = c.account_id), 0) as credits
    from billing_transfer
    where id <= c.through and c.account_id in (debit_id, credit_id)
) t on true
where %(full)s and c.through = %(newest)s and (c.debits, c.credits) <> (t.debits, t.credits)
"""
LOTS: Final = """
select a.workspace_id, 'account ' || a.id || ' was granted ' || a.credits_posted
    || ', its lots say ' || coalesce(sum(l.amount), 0)
from billing_account a left join billing_lot l on l.account_id = a.id
where a.kind = 'granted'
group by a.id
having a.credits_posted <> coalesce(sum(l.amount), 0)
    or a.debits_posted < coalesce(sum(l.consumed + l.expired), 0)
"""

MAKE_CHECKPOINT: Final = """
insert into billing_ledgercheckpoint (account_id, through, debits, credits)
select account_id, %(until)s, sum(debit), sum(credit)
from (
    select debit_id as account_id, amount as debit, 0 as credit
    from billing_transfer where id > %(through)s and id <= %(until)s
    union all
    select credit_id, 0, amount
    from billing_transfer where id > %(through)s and id <= %(until)s
    union all
    select account_id, debits, credits from billing_ledgercheckpoint
    where through = %(through)s
) leg
group by account_id
order by account_id
on conflict do nothing
"""
