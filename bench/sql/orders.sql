-- The table whose changes make a backlog: a row is about 200 bytes of JSON.
CREATE TABLE public.orders (
    id          bigint        PRIMARY KEY,
    number      text          NOT NULL,
    customer_id integer       NOT NULL,
    status      text          NOT NULL,
    total       numeric(10,2) NOT NULL,
    note        text,
    updated_at  timestamptz   NOT NULL DEFAULT now()
);
