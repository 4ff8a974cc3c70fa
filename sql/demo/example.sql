-- The tables that config.example.yaml names, for docs/installed-sql.md.

CREATE TABLE orders (
    id          bigint        PRIMARY KEY,
    number      varchar(20)   NOT NULL,
    status      varchar(20)   NOT NULL,
    total       numeric(12,2) NOT NULL,
    card_number varchar(20)
);

CREATE TABLE customers (
    id         bigint      PRIMARY KEY,
    name       text        NOT NULL,
    settings   jsonb       NOT NULL,
    changed_at timestamptz NOT NULL
);
