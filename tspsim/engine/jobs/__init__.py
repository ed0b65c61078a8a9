"""Jobs of many steps that meet failures."""
