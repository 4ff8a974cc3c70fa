-- What the demo's writer does. Each statement returns the rows that it wrote, as JSON: so the writer knows what it
-- committed. A row's version counts its updates, and changed_at makes each of its states unlike any other.

-- name: add_customers
INSERT INTO customers AS t (name, address)
SELECT 'Customer ' || n, jsonb_build_object('street', n || ' High Street', 'city', 'Málaga "East"')
  FROM generate_series(1, %(count)s::integer) AS n
RETURNING row_to_json(t.*)::text;

-- name: add_products
INSERT INTO products AS t (name, price, stock, tags)
SELECT 'Product ' || n, (n %% 500)::numeric / 10 + 1, 100000, ARRAY['new', 'aisle ' || n %% 40]
  FROM generate_series(1, %(count)s::integer) AS n
RETURNING row_to_json(t.*)::text;

-- name: place_order
INSERT INTO orders AS t (customer_id, note) VALUES (%(customer_id)s, %(note)s) RETURNING row_to_json(t.*)::text;

-- name: add_lines
INSERT INTO order_lines AS t (order_id, line_no, product_id, quantity, price)
SELECT %(order_id)s, wish.line_no, p.product_id, wish.line_no, p.price
  FROM unnest(%(product_ids)s::bigint[]) WITH ORDINALITY AS wish (product_id, line_no)
  JOIN products p USING (product_id)
RETURNING row_to_json(t.*)::text;

-- name: take_from_stock
-- Locked in order, so that two orders (or an order and the new prices) never wait for each other.
WITH wanted AS MATERIALIZED (
    SELECT product_id FROM products WHERE product_id = ANY (%(product_ids)s::bigint[]) ORDER BY product_id FOR NO KEY UPDATE)
UPDATE products AS t SET stock = stock - 1, version = version + 1, changed_at = clock_timestamp()
  FROM wanted WHERE t.product_id = wanted.product_id
RETURNING row_to_json(t.*)::text;

-- name: set_status
UPDATE orders AS t SET status = %(status)s::order_status, version = version + 1, changed_at = clock_timestamp()
 WHERE order_id = %(order_id)s
RETURNING row_to_json(t.*)::text;

-- name: move_customer
UPDATE customers AS t
   SET address = address || jsonb_build_object('street', %(street)s::text), version = version + 1, changed_at = clock_timestamp()
 WHERE customer_id = %(customer_id)s
RETURNING row_to_json(t.*)::text;

-- name: drop_lines
DELETE FROM order_lines AS t WHERE order_id = %(order_id)s RETURNING row_to_json(t.*)::text;

-- name: drop_order
DELETE FROM orders AS t WHERE order_id = %(order_id)s RETURNING row_to_json(t.*)::text;

-- name: raise_prices
WITH wanted AS MATERIALIZED (SELECT product_id FROM products ORDER BY product_id FOR NO KEY UPDATE)
UPDATE products AS t SET price = round(price * 1.02, 2), version = version + 1, changed_at = clock_timestamp()
  FROM wanted WHERE t.product_id = wanted.product_id
RETURNING row_to_json(t.*)::text;

-- name: customers
SELECT row_to_json(t.*)::text FROM customers AS t;

-- name: products
SELECT row_to_json(t.*)::text FROM products AS t;

-- name: orders
SELECT row_to_json(t.*)::text FROM orders AS t;

-- name: order_lines
SELECT row_to_json(t.*)::text FROM order_lines AS t;
