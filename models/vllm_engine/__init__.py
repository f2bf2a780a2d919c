"""AsyncLLM in this process: the only folder that imports vllm, and only when an engine is opened.

vLLM's scheduler and model run in a child process of their own; what runs here is the front end: ids in, deltas out.
Works on vLLM 0.26 to 0.32; the symbols used are few and documented.
"""
