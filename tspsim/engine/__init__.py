"""The engine: from programs and a fabric to a timeline."""
