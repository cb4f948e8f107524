"""Bringing the files of published sets into the layout of docs/data.md: see plvl.data.fetching.fetch_set."""
