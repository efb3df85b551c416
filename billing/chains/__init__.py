"""Deposits on EVM chains, watched only: no key that could spend is ever here."""
