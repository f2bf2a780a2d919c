"""Figures as a table for the terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from loadtest.summary import Figures

LATENCIES = {
    "ttft_ms": "TTFT, from the intended send",
    "ttft_from_send_ms": "TTFT, from the actual send",
    "itl_ms": "ITL, between frames",
    "tpot_ms": "TPOT",
    "e2e_ms": "E2E, from the intended send",
    "send_lag_ms": "send lag",
    "session_open_ms": "making a session",
}
COLUMNS = ("mean", "p50", "p90", "p99", "max")


def wide_console() -> Console:
    """A console that doesn't fold tables when the output goes to a file."""
    console = Console()
    if not console.is_terminal:
        console.width = 120
    return console


def latency_table(figures: Figures) -> Table:
    """A row a latency, in milliseconds."""
    table = Table(title="Latency, ms, measured by the client", title_justify="left")
    table.add_column("")
    for column in ("count", *COLUMNS):
        table.add_column(column, justify="right")
    for key, label in LATENCIES.items():
        row: Mapping[str, float] = figures[key]
        if row["count"]:
            table.add_row(label, str(row["count"]), *(f"{row[column]:.1f}" for column in COLUMNS))
    return table


def totals_table(figures: Figures) -> Table:
    """Throughput, cache, errors, goodput and CPU."""
    table = Table(title="Totals", title_justify="left", show_header=False)
    goodput, client = figures["goodput"], figures["client"]
    rows = {
        "turns": f"{figures['turns_ok']} of {figures['turns_planned']} in {figures['wall_s']:.1f} s",
        "requests/s": f"{figures['requests_per_s']:.2f}",
        "output tokens/s": f"{figures['output_tokens_per_s']:.1f}",
        "prompt tokens cached": f"{figures['cached_share']:.1%} of {figures['prompt_tokens']}",
        "tokens a frame": f"{figures['tokens_per_frame']:.2f}",
        "errors": ", ".join(f"{kind} × {count}" for kind, count in figures["errors"].items()) or "none",
        f"goodput (TTFT ≤ {goodput['slo_ttft_ms']:g} ms, TPOT ≤ {goodput['slo_tpot_ms']:g} ms)": (
            f"{goodput['share']:.1%}, {goodput['turns_per_s']:.2f} turns/s"
        ),
        "client CPU": f"{client['cpu_us_per_token']:.0f} µs a token, {client['cpu_share']:.0%} of a core",
    }
    for role, cpu_us in figures.get("server_cpu_us_per_token", {}).items():
        rows[f"server CPU, {role}"] = f"{cpu_us:.1f} µs a token"
    for label, value in rows.items():
        table.add_row(label, value)
    return table
