DROP FUNCTION IF EXISTS cdc_hooks.{function}();
