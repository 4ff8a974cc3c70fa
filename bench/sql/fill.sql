-- Orders with the ids from %(first)s to %(last)s.
INSERT INTO public.orders (id, number, customer_id, status, total, note)
SELECT n, 'A-' || lpad(n::text, 10, '0'), n %% 50021, (ARRAY['open', 'paid', 'sent', 'closed'])[1 + n %% 4],
       (n %% 100000) / 100.0, 'leave it with the neighbours, please'
  FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n;
