-- The daemon sleeps if the doorbell's time lies ahead; else, and always while it is 0, nothing is rung.
    IF pg_catalog.pg_sequence_last_value('cdc_hooks.doorbell'::pg_catalog.regclass) > 0
       AND pg_catalog.pg_sequence_last_value('cdc_hooks.doorbell'::pg_catalog.regclass)
           > EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000
    THEN
        PERFORM pg_catalog.pg_notify('cdc_hooks', '');
    END IF;
