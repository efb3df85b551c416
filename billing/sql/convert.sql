-- Exchanges an amount of one asset for another at a stated rate: linked transfers through the
-- house's trading accounts, all with one source, and the row that says how they follow.
--
-- terms: {source, debit, credit, amount, numerator, denominator, spread_ppm, rate_source,
--         rate_at, reason, created_by}; answered by {v: ok | already, gross, spread}.
-- The debit account gives `amount` of its asset. The credit account gets amount × numerator /
-- denominator, rounded down, less the spread, which is rounded up: both in favour of the house.
-- Raises what billing_post raises; TG001 also where the source was converted on other terms.
create or replace function billing_convert(terms jsonb)
returns jsonb
language plpgsql
set search_path = pg_catalog, public, pg_temp
set lock_timeout = '5s'
as $$
#variable_conflict use_column
declare
    t record;
    booked billing_conversion;
    given text;
    wanted text;
    gross numeric;
    fee numeric;
    is_new boolean;
    legs jsonb;
begin
    select * into t
    from jsonb_to_record(terms) as asked (
        source uuid, debit bigint, credit bigint, amount numeric, numerator numeric,
        denominator numeric, spread_ppm int, rate_source text, rate_at timestamptz,
        reason text, created_by bigint
    );
    select asset into given from billing_account where id = t.debit;
    select asset into wanted from billing_account where id = t.credit;
    if (
        given <> wanted and t.source is not null and t.rate_source <> ''
        and t.rate_at is not null and least(t.amount, t.numerator, t.denominator) >= 1
        and t.amount = trunc(t.amount) and t.numerator = trunc(t.numerator)
        and t.denominator = trunc(t.denominator) and t.spread_ppm between 0 and 999999
    ) is not true then
        raise exception 'not a conversion: %', terms using errcode = 'TG003';
    end if;
    gross := div(t.amount * t.numerator, t.denominator);
    fee := div(gross * t.spread_ppm + 999999, 1000000);
    if gross <= fee then
        raise exception 'too little to convert: % of % is worth nothing in %',
            t.amount, given, wanted using errcode = 'TG003';
    end if;

    insert into billing_conversion (
        source, debit_id, credit_id, amount, numerator, denominator, spread_ppm, gross, spread,
        rate_source, rate_at, created_by_id, at
    )
    values (
        t.source, t.debit, t.credit, t.amount, t.numerator, t.denominator, t.spread_ppm,
        gross, fee, t.rate_source, t.rate_at, t.created_by, billing_now()
    )
    on conflict (source) do nothing
    returning true into is_new;
    if is_new is null then
        select * into booked from billing_conversion where source = t.source;
        if (booked.debit_id, booked.credit_id, booked.amount, booked.numerator,
            booked.denominator, booked.spread_ppm)
            is distinct from (t.debit, t.credit, t.amount, t.numerator, t.denominator,
                              t.spread_ppm)
        then
            raise exception '% was converted before on other terms', t.source
                using errcode = 'TG001';
        end if;
        return jsonb_build_object('v', 'already', 'gross', gross, 'spread', fee);
    end if;

    legs := jsonb_build_array(
        jsonb_build_object(
            'kind', 'conversion.out', 'debit', t.debit, 'asset', given, 'amount', t.amount,
            'credit', billing_house_account('trading', given)
        ),
        jsonb_build_object(
            'kind', 'conversion.in', 'credit', t.credit, 'asset', wanted, 'amount', gross - fee,
            'debit', billing_house_account('trading', wanted)
        )
    );
    if fee > 0 then
        legs := legs || jsonb_build_object(
            'kind', 'conversion.spread', 'asset', wanted, 'amount', fee,
            'debit', billing_house_account('trading', wanted),
            'credit', billing_house_account('fx_spread', wanted)
        );
    end if;
    perform billing_post((
        select jsonb_agg(
            leg || jsonb_build_object(
                'source', t.source, 'reference', t.rate_source, 'reason', t.reason,
                'created_by', t.created_by
            )
        )
        from jsonb_array_elements(legs) as leg
    ));
    return jsonb_build_object('v', 'ok', 'gross', gross, 'spread', fee);
end $$;
