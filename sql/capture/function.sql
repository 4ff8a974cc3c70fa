CREATE OR REPLACE FUNCTION cdc_hooks.{function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
{settings}
AS {quote}{body}{quote};
REVOKE ALL ON FUNCTION cdc_hooks.{function}() FROM PUBLIC;
