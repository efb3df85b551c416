"""The gateway: surfaces, routing, metering, the catalogue, evidence of calls."""
