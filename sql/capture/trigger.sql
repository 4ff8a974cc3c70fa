CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {table}
{transition}FOR EACH {level}
{condition}EXECUTE FUNCTION cdc_hooks.{function}();
