INSERT INTO cdc_hooks.migration (version) VALUES ({version});
