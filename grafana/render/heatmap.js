// A heatmap panel: cumulative buckets over time as rows of cells, the brighter the more.

// Turbo, Anton Mikhailov's rainbow for dark grounds, by its published polynomial.
function turbo(t) {
  const channel = (a, b, c, d, e, f) =>
    Math.round(Math.max(0, Math.min(255, a + t * (b - t * (c - t * (d - t * (e - t * f)))))));
  return [channel(34.61, 1172.33, 10793.56, 33300.12, 38394.49, 14825.05),
    channel(23.31, 557.33, -1225.33, -3574.96, -1073.77, 707.56),
    channel(27.2, 3211.1, 15327.97, 27814.0, 22569.18, 6838.66)];
}

// The rows between neighbouring bounds: low, high, and the count in each step of time.
function buckets(results, time) {
  const cumulative = results
    .map(({ metric, values }) => ({ bound: metric.le === "+Inf" ? Infinity : Number(metric.le), at: new Map(values) }))
    .sort((a, b) => a.bound - b.bound);
  return cumulative.map(({ bound, at }, index) => ({
    low: index ? cumulative[index - 1].bound : 0,
    high: bound,
    counts: time.marks.map((mark) => Math.max(0, (at.get(mark) ?? 0) - (index ? cumulative[index - 1].at.get(mark) ?? 0 : 0))),
  }));
}

function drawHeatmap(panel, results, time, width, height) {
  const rows = buckets(results[panel.targets[0].refId], time).filter((row) => row.high !== Infinity);
  const least = panel.options.filterValues?.le ?? 0;
  const used = rows.flatMap((row, index) => (row.counts.some((count) => count > least) ? [index] : []));
  if (!used.length) return noData(panel);
  const shown = rows.slice(Math.max(0, used[0] - 1), used.at(-1) + 2);
  const unit = panel.options.yAxis.unit ?? panel.fieldConfig.defaults.unit;
  const text = (value) => format(value, unit, undefined);
  const box = { top: 8, left: 74, right: width - 14, bottom: height - 58 };
  const low = shown[0].low || shown[0].high / (shown[1] ? shown[1].high / shown[1].low : 2);
  const y = logarithmic(low, shown.at(-1).high, box.bottom, box.top);
  const x = linear(time.from, time.to, box.left, box.right);
  const most = Math.max(...shown.flatMap((row) => row.counts));
  const { exponent } = panel.options.color;

  const canvas = el("canvas", { width, height: box.bottom });
  const context = canvas.getContext("2d");
  const step = x(time.from + time.step) - x(time.from);
  for (const row of shown) {
    const top = y(row.high);
    const bottom = row.low ? y(row.low) : box.bottom;
    row.counts.forEach((count, index) => {
      if (count <= least) return;
      const left = Math.max(box.left, x(time.marks[index]) - step);
      const right = x(time.marks[index]);
      context.fillStyle = `rgb(${turbo((count / most) ** exponent)})`;
      context.fillRect(Math.floor(left), Math.floor(top), Math.ceil(right) - Math.floor(left), Math.ceil(bottom) - Math.floor(top));
    });
  }
  const marks = logTicks(low, shown.at(-1).high, (box.bottom - box.top) / 30, unit);
  const svg = el("svg", { width, height: box.bottom + 22, class: "over" });
  axes(svg, box, {
    x, y, yMarks: marks, yText: text, xMarks: timeTicks(time.from, time.to, (box.right - box.left) / 80), span: time.to - time.from,
  });
  const shades = Array.from({ length: 12 }, (_, index) => `rgb(${turbo(index / 11)})`).join(",");
  const scale = el("div", { class: "scale" }, "0", el("span", { class: "shades", style: `background:linear-gradient(90deg,${shades})` }),
    `${format(most, "short", most < 10 ? 1 : 0)} in a cell`);
  return el("div", { class: "chart heat" }, canvas, svg, scale);
}
