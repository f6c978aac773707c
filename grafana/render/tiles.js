// Single values: stat, gauge and bargauge panels.

// One reduced value a series.
const values = (panel, results) => seriesOf(panel, results).map((series) => ({
  ...series, value: reduce(panel.options.reduceOptions.calcs[0], series.points),
})).filter(({ value }) => value !== null);

function drawStat(panel, results, time, width, height) {
  const all = values(panel, results);
  if (!all.length) return noData(panel);
  if (all.length > 1) {
    const size = Math.min(height / (1.6 * all.length), 30);
    return el("div", { class: "tile several" }, ...all.map(({ name, field, value }) =>
      el("div", { style: `color:${valueColour(field, value)};font-size:${size}px` },
        el("span", { class: "label" }, name), textOf(field, value))));
  }
  const [{ field, value, points }] = all;
  const tint = valueColour(field, value);
  const text = textOf(field, value);
  const size = Math.min(height * 0.42, width / (0.62 * text.length), 54);
  const number = el("div", { class: "number", style: `color:${tint};font-size:${size}px` }, text);
  if (panel.options.graphMode !== "area") return el("div", { class: "tile" }, number);
  const marks = points.filter(([, each]) => Number.isFinite(each));
  const high = Math.max(...marks.map(([, each]) => each));
  const low = Math.min(0, ...marks.map(([, each]) => each));
  const x = linear(time.from, time.to, 0, width);
  const y = linear(low, high || 1, height, height * 0.7);
  const line = marks.map(([mark, each]) => [x(mark), y(each)]);
  const svg = el("svg", { width, height, class: "spark" },
    el("path", { d: area(line, line.map(([at]) => [at, height])), fill: tint, "fill-opacity": 0.18 }),
    el("path", { d: path(line), fill: "none", stroke: tint, "stroke-width": 1.4 }));
  return el("div", { class: "tile sparkling" }, svg, number);
}

// An arc of the ring around (x, y) from share to share of the gauge's 240 degrees.
function arc(x, y, radius, from, to) {
  const at = (share) => {
    const angle = ((150 + 240 * share) * Math.PI) / 180;
    return `${x + radius * Math.cos(angle)} ${y + radius * Math.sin(angle)}`;
  };
  return `M${at(from)}A${radius} ${radius} 0 ${(to - from) * 240 > 180 ? 1 : 0} 1 ${at(to)}`;
}

function drawGauge(panel, results, time, width, height) {
  const all = values(panel, results);
  if (!all.length) return noData(panel);
  const [{ field, value }] = all;
  const low = field.min ?? 0;
  const high = field.max ?? 100;
  const share = (of) => Math.min(1, Math.max(0, (of - low) / (high - low)));
  const radius = Math.min(width / 2.4, height / 1.75);
  const [x, y] = [width / 2, radius + 12];
  const svg = el("svg", { width, height });
  const ring = (inner, wide, from, to, tint) => svg.append(
    el("path", { d: arc(x, y, inner, from, to), fill: "none", stroke: tint, "stroke-width": wide }));
  ring(radius * 0.82, radius * 0.26, 0, 1, "#2c3036");
  if (share(value) > 0) ring(radius * 0.82, radius * 0.26, 0, share(value), valueColour(field, value));
  const { steps } = field.thresholds;
  steps.forEach((step, index) => {
    const from = step.value === null ? 0 : share(step.value);
    const to = index + 1 < steps.length ? share(steps[index + 1].value) : 1;
    ring(radius, 4, from, to, colour(step.color));
  });
  svg.append(el("text", { x, y: y + radius * 0.16, class: "middle", fill: valueColour(field, value), "font-size": radius * 0.36 }, textOf(field, value)));
  return el("div", { class: "tile" }, svg);
}

function drawBargauge(panel, results, time, width, height) {
  const all = values(panel, results);
  if (!all.length) return noData(panel);
  const fits = Math.max(1, Math.floor(height / 19));
  const shown = all.slice(0, fits);
  const each = Math.min(34, height / shown.length);
  const high = (field) => field.max ?? (Math.max(...all.map(({ value }) => value)) || 1);
  const longest = Math.min(width * 0.42, 7 * Math.max(...shown.map(({ name }) => name.length)) + 12);
  const rows = shown.map(({ name, field, value }) => {
    const low = field.min ?? 0;
    const share = Math.min(1, Math.max(0.004, (value - low) / (high(field) - low)));
    const tint = valueColour(field, value);
    return el("div", { class: "bar", style: `height:${each}px` },
      el("span", { class: "label", style: `width:${longest}px` }, name),
      el("span", { class: "track" }, el("span", { class: "filled", style: `width:${share * 100}%;border-color:${tint};background:${tint}55` })),
      el("span", { class: "value", style: `color:${tint}` }, textOf(field, value)));
  });
  return el("div", { class: "bars" }, ...rows);
}
