#!/usr/bin/env python3
"""Writes a page that draws a dashboard as Grafana lays it out, with everything it needs in it: the dashboard's JSON,
the results of its queries from a running Prometheus, and the scripts beside this file. Prints the page's height."""

import argparse
import concurrent.futures
import html
import json
import math
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).parent
SCRIPTS = ["units.js", "field.js", "svg.js", "timeseries.js", "heatmap.js", "tiles.js", "table.js", "page.js"]
TYPES = {"timeseries", "heatmap", "stat", "gauge", "bargauge", "table"}
STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400]
UNIT, GAP, HEADER = 30, 8, 92  # as in page.js
DURATION = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Prometheus:
    """The query API at one address."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        # Straight there, whatever proxy the environment names.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path, **parameters):
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with self.opener.open(address, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            why = json.load(error).get("error", error)
            raise SystemExit(f"Prometheus refuses {parameters.get('query', path)}: {why}") from None
        except OSError as error:
            raise SystemExit(f"no answer from Prometheus at {self.url}: {error}") from None

    def scrape_interval(self):
        """The longest interval of its targets, seconds: what Grafana's data source has as its minimum."""
        targets = self.get("targets", state="active")["activeTargets"]
        return max((seconds(target["scrapeInterval"]) for target in targets), default=15)

    def first_sample(self, before, span):
        """When the daemons were first scraped in the time before."""
        query = f'min(min_over_time(timestamp(up{{job=~"rdma-.+"}})[{span}s:15s]))'
        found = self.get("query", query=query, time=before)["result"]
        return float(found[0]["value"][1]) if found else before - span


def seconds(text):
    return sum(float(count) * DURATION[unit] for count, unit in re.findall(r"(\d+)([smhdw])", text))


def variables(dashboard):
    """Each variable's current value; All is what its allValue says."""
    values = {}
    for variable in dashboard["templating"]["list"]:
        value = variable["current"].get("value")
        values[variable["name"]] = variable["allValue"] if value == ["$__all"] else value
    return values


def filled(expression, values):
    return re.sub(r"\$(\w+)", lambda found: str(values[found[1]]), expression)


def query(prometheus, panel, target, values, start, end, step):
    """Its series: labels, and points in time; one point for an instant query."""
    expression = filled(target["expr"], values)
    if target.get("instant"):
        result = prometheus.get("query", query=expression, time=end)["result"]
        points = {"values": "value"}
    else:
        result = prometheus.get("query_range", query=expression, start=start, end=end, step=step)["result"]
        points = {"values": "values"}
    series = []
    for each in result:
        found = each[points["values"]]
        found = [found] if target.get("instant") else found
        # JSON has no NaN and no infinity: what is neither is null.
        numbers = [(int(at), float(value)) for at, value in found]
        series.append({"metric": each["metric"],
                       "values": [[at, value if math.isfinite(value) else None] for at, value in numbers]})
    return series


def panel_data(prometheus, panel, values, start, end, scrape):
    wanted = (end - start) / panel.get("maxDataPoints", 240)
    step = next((each for each in STEPS if each >= max(wanted, scrape)), STEPS[-1])
    first = math.ceil(start / step) * step
    marks = list(range(first, int(end) + 1, step))
    values = values | {"__rate_interval": f"{math.ceil(max(step + scrape, 4 * scrape))}s", "__range": f"{int(end - start)}s"}
    results = {target["refId"]: query(prometheus, panel, target, values, first, end, step) for target in panel["targets"]}
    if not any(point[1] is not None for series in results.values() for each in series for point in each["values"]):
        print(f"  no data: {panel['id']} {panel['title']}", file=sys.stderr)
    return {"time": {"step": step, "marks": marks}, "results": results}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prometheus")
    parser.add_argument("dashboard", type=pathlib.Path)
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--from", dest="start", type=float)
    parser.add_argument("--to", dest="end", type=float)
    options = parser.parse_args()

    dashboard = json.loads(options.dashboard.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    for panel in panels:
        if panel["type"] not in TYPES:
            raise SystemExit(f"{options.dashboard}: panel {panel['id']} is a {panel['type']}, which is not drawn here")

    prometheus = Prometheus(options.prometheus)
    end = options.end or time.time()
    span = int(seconds(dashboard["time"]["from"].removeprefix("now-")))
    start = options.start or max(end - span, prometheus.first_sample(end, span))
    scrape = prometheus.scrape_interval()
    values = variables(dashboard)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        data = list(pool.map(lambda panel: panel_data(prometheus, panel, values, start, end, scrape), panels))
    everything = json.dumps({
        "dashboard": dashboard, "variables": values, "time": {"from": start, "to": end},
        "panels": {panel["id"]: each for panel, each in zip(panels, data)},
    }, allow_nan=False)
    style = (HERE / "page.css").read_text()
    scripts = "\n".join((HERE / name).read_text() for name in SCRIPTS)
    options.page.write_text(
        f"<!doctype html><html><head><meta charset='utf-8'><title>{html.escape(dashboard['title'])}</title>"
        f"<style>{style}</style></head><body>"
        f"<script id='data' type='application/json'>{everything.replace('</', '<' + chr(92) + '/')}</script>"
        f"<script>'use strict';\n{scripts}</script></body></html>")
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    print(HEADER + rows * (UNIT + GAP) + GAP)


if __name__ == "__main__":
    main()
