// A timeseries panel: lines or stacked areas over time, one scale a unit, threshold lines, and the legend.

// Every series at the same times: [time, value or null].
function aligned(points, time) {
  const at = new Map(points.filter(([, value]) => Number.isFinite(value)));
  return time.marks.map((mark) => [mark, at.get(mark) ?? null]);
}

// Adds what lies below to each stacked series; `below` is what it stands on.
function stack(all) {
  const sums = new Map();
  for (const series of all) {
    const stacked = series.field.custom.stacking?.mode === "normal";
    series.below = series.points.map(([time]) => (stacked ? sums.get(time) ?? 0 : null));
    series.top = series.points.map(([time, value]) => {
      if (!stacked || value === null) return value;
      sums.set(time, (sums.get(time) ?? 0) + value);
      return sums.get(time);
    });
  }
}

// The scale of the series of one unit.
function valueScale(all, box) {
  const { field } = all[0];
  // The first series that wants its thresholds drawn has those of the scale, as in Grafana.
  const lined = all.find((series) => series.field.custom.thresholdsStyle?.mode === "dashed");
  const log = field.custom.scaleDistribution?.type === "log";
  const values = all.flatMap((series) => series.top).filter((value) => Number.isFinite(value) && (!log || value > 0));
  let high = values.length ? Math.max(...values) : 1;
  let low = log ? (values.length ? Math.min(...values) : 1) : field.min ?? Math.min(0, ...values);
  if (log) {
    const reach = 0.06 * Math.log10(high / low || 10) + 0.02;
    [low, high] = [low / 10 ** reach, high * 10 ** reach];
    if (Math.ceil(Math.log10(low)) > Math.floor(Math.log10(high))) low = 10 ** Math.floor(Math.log10(low));
  } else {
    high = field.max ?? (high > low ? high * 1.05 : low + 1);
  }
  const count = Math.max(3, (box.bottom - box.top) / 42);
  const marks = log ? logTicks(low, high, count, field.unit) : ticks(low, high, count, field.unit);
  return {
    y: (log ? logarithmic : linear)(low, high, box.bottom, box.top),
    text: (mark) => format(mark, field.unit).replace(/(\.\d*?)0+(?=\D*$)/, "$1").replace(/\.(?=\D*$)/, ""),
    marks, low, high, log,
    thresholds: (lined?.field.thresholds.steps ?? []).filter(({ value }) => value !== null && value >= low && value <= high),
  };
}

function drawSeries(svg, series, scale, x) {
  const place = (time, value) => (value === null || (scale.log && value <= 0) ? null : [x(time), scale.y(value)]);
  const line = series.points.map(([time], index) => place(time, series.top[index]));
  const ground = scale.log ? scale.low : Math.max(0, scale.low);
  const below = series.points.map(([time], index) => place(time, series.below[index] ?? ground));
  const { custom } = series.field;
  if (custom.fillOpacity) {
    svg.append(el("path", { d: area(line, below), fill: series.colour, "fill-opacity": custom.fillOpacity / 100 }));
  }
  const dash = custom.lineStyle?.dash;
  svg.append(el("path", {
    d: path(line), fill: "none", stroke: series.colour, "stroke-width": (custom.lineWidth ?? 1) + 0.4,
    ...(dash ? { "stroke-dasharray": dash.join(" ") } : {}),
  }));
  // A point with no neighbour is no line.
  line.forEach((point, index) => {
    if (point && !line[index - 1] && !line[index + 1]) {
      svg.append(el("circle", { cx: point[0], cy: point[1], r: 2, fill: series.colour }));
    }
  });
}

function drawTimeseries(panel, results, time, width, height) {
  const all = seriesOf(panel, results);
  if (!all.some((series) => finite(series.points).length)) return noData(panel);
  for (const series of all) series.points = aligned(series.points, time);
  stack(all);
  const legend = drawLegend(panel, all, width, height);
  const beside = panel.options.legend.placement === "right";
  const box = { top: 8, left: 0, right: width - (beside ? legend.size : 0) - 10, bottom: height - (beside ? 0 : legend.size) - 24 };

  const mainUnit = all.find((series) => series.field.custom.axisPlacement !== "right")?.field.unit ?? all[0].field.unit;
  const groups = new Map();
  for (const series of all) {
    series.main = series.field.unit === mainUnit;
    groups.set(series.field.unit, [...(groups.get(series.field.unit) ?? []), series]);
  }
  const scales = [...groups.values()].map((group) => ({ group, scale: valueScale(group, box), right: !group[0].main }));
  for (const { scale, right } of scales) {
    const room = axisWidth(scale.marks, scale.text);
    if (right) box.right -= room;
    else box.left += room;
  }
  const x = linear(time.from, time.to, box.left, box.right);
  const svg = el("svg", { width: box.right + (scales.length > 1 ? 60 : 10), height: box.bottom + 24 });
  const xMarks = timeTicks(time.from, time.to, (box.right - box.left) / 80);
  scales.sort((a, b) => a.right - b.right);
  for (const { group, scale, right } of scales) {
    axes(svg, box, { x, y: scale.y, xMarks: right ? [] : xMarks, yMarks: scale.marks, yText: scale.text, span: time.to - time.from, right });
    for (const step of scale.thresholds) {
      const y = scale.y(step.value);
      svg.append(el("line", { x1: box.left, x2: box.right, y1: y, y2: y, stroke: colour(step.color), "stroke-dasharray": "8 6", opacity: 0.8 }));
    }
    for (const series of group) drawSeries(svg, series, scale, x);
  }
  return el("div", { class: beside ? "chart beside" : "chart" }, svg, legend.element);
}

// The legend: a list below, or a table with the calculations asked for; what does not fit is counted.
function drawLegend(panel, all, width, height) {
  const { displayMode, placement, calcs, showLegend, sortBy, sortDesc } = panel.options.legend;
  if (!showLegend) return { element: null, size: 0 };
  const swatch = (series) => el("span", { class: "swatch", style: `background:${series.colour}` });
  if (displayMode === "list") {
    const items = all.map((series) => el("span", { class: "item" }, swatch(series), series.name));
    const length = all.reduce((sum, series) => sum + series.name.length * 6.6 + 30, 0);
    const lines = Math.min(3, Math.ceil(length / (width - 20)));
    return { element: el("div", { class: "legend list" }, ...items), size: 8 + 20 * lines };
  }
  const rows = all.map((series) => ({ series, cells: calcs.map((calc) => reduce(calc, series.points)) }));
  const column = calcs.findIndex((calc) => REDUCER_NAMES[calc] === sortBy);
  if (column >= 0) rows.sort((a, b) => ((a.cells[column] ?? -Infinity) - (b.cells[column] ?? -Infinity)) * (sortDesc ? -1 : 1));
  const beside = placement === "right";
  const fits = Math.max(2, Math.floor(((beside ? height : height * 0.5) - 26) / 19));
  const shown = rows.slice(0, rows.length > fits ? fits - 1 : fits);
  const body = shown.map(({ series, cells }) => el("tr", {},
    el("td", { class: "name" }, swatch(series), series.name),
    ...cells.map((cell) => el("td", {}, cell === null ? "" : textOf(series.field, cell)))));
  if (shown.length < rows.length) {
    body.push(el("tr", {}, el("td", { class: "name more" }, `and ${rows.length - shown.length} more`)));
  }
  const head = el("tr", {}, el("th", { class: "name" }, "Name"), ...calcs.map((calc) => el("th", {}, REDUCER_NAMES[calc])));
  const table = el("table", {}, head, ...body);
  const longest = Math.max(...all.map((series) => series.name.length));
  const besideSize = Math.min(width * 0.45, Math.max(110, longest * 6.6 + 40 + 78 * calcs.length));
  const element = el("div", { class: "legend table", style: beside ? `width:${besideSize}px` : "" }, table);
  return { element, size: beside ? besideSize : 30 + 19 * body.length };
}
