"""Who speaks: cards, profiles, macros and the shipped library. Knows no network, storage, tokens or HTTP."""
