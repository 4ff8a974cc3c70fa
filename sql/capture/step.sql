{title}
BEGIN;
{lock_timeout}{lock};
{statements}COMMIT;
