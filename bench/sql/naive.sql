-- What people write first: the row itself in a notification, at each commit.
CREATE FUNCTION public.naive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('naive', row_to_json(NEW)::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER naive AFTER INSERT OR UPDATE ON public.pgbench_accounts FOR EACH ROW EXECUTE FUNCTION public.naive();
