"""Money: accounts, transfers, holds, prices, usage. Written by SQL functions only."""
