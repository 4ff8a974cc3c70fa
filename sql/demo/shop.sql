-- The demo's shop: a small schema as applications have them. Nothing in it knows of cdc-hooks.

CREATE TYPE order_status AS ENUM ('open', 'paid', 'shipped');

CREATE TABLE customers (
    customer_id bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name        text        NOT NULL,
    address     jsonb       NOT NULL,
    version     integer     NOT NULL DEFAULT 1,
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE products (
    product_id  bigint        PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name        text          NOT NULL,
    price       numeric(10,2) NOT NULL,
    stock       integer       NOT NULL,
    tags        text[]        NOT NULL DEFAULT '{}',
    version     integer       NOT NULL DEFAULT 1,
    changed_at  timestamptz   NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE orders (
    order_id    bigint       PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    customer_id bigint       NOT NULL REFERENCES customers,
    status      order_status NOT NULL DEFAULT 'open',
    note        text,
    version     integer      NOT NULL DEFAULT 1,
    changed_at  timestamptz  NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE order_lines (
    order_id    bigint        NOT NULL REFERENCES orders,
    line_no     integer       NOT NULL,
    product_id  bigint        NOT NULL REFERENCES products,
    quantity    integer       NOT NULL,
    price       numeric(10,2) NOT NULL,
    amount      numeric(12,2) GENERATED ALWAYS AS (quantity * price) STORED,
    version     integer       NOT NULL DEFAULT 1,
    changed_at  timestamptz   NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, line_no)
);
