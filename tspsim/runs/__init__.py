"""The same scenario many times: under other luck, or as a job of many steps that meets failures."""
