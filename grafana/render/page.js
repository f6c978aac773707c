// The page: the dashboard's header, and its panels where its grid has them.

const [UNIT, GAP, MARGIN, HEADER] = [30, 8, 16, 92];
const DRAW = {
  timeseries: drawTimeseries, heatmap: drawHeatmap, stat: drawStat, gauge: drawGauge, bargauge: drawBargauge, table: drawTable,
};

const noData = (panel) => el("div", { class: "nodata" }, panel.fieldConfig.defaults.noValue ?? "No data");

// Text with the variables put in.
const filled = (text, variables) => text.replace(/\$(\w+)/g, (whole, name) => variables[name] ?? whole);

function header({ dashboard, variables, time }) {
  const chosen = dashboard.templating.list.filter(({ type }) => type !== "datasource").map(({ name, label, allValue }) => el("span", { class: "variable" },
    el("span", { class: "name" }, label ?? name), el("span", { class: "chosen" }, variables[name] === allValue ? "All" : variables[name])));
  const stamp = (at) => new Date(at * 1000).toISOString().replace("T", " ").slice(0, 19);
  return el("header", {},
    el("div", { class: "top" }, el("span", { class: "title" }, dashboard.title), el("span", { class: "about" }, dashboard.description),
      el("span", { class: "time" }, `${stamp(time.from)} to ${stamp(time.to)} UTC`)),
    el("div", { class: "variables" }, ...chosen, ...dashboard.links.map(({ title }) => el("span", { class: "link" }, title))));
}

function draw(data) {
  const column = (1600 - 2 * MARGIN + GAP) / 24;
  document.body.append(header(data));
  for (const panel of data.dashboard.panels) {
    const { x, y, w, h } = panel.gridPos;
    const [width, height] = [w * column - GAP, h * (UNIT + GAP) - GAP];
    const place = `left:${MARGIN + x * column}px;top:${HEADER + y * (UNIT + GAP)}px;width:${width}px;height:${height}px`;
    const title = filled(panel.title, data.variables);
    if (panel.type === "row") {
      document.body.append(el("div", { class: "row", style: place }, title));
      continue;
    }
    const { time, results } = data.panels[panel.id];
    const content = DRAW[panel.type](panel, results, { ...data.time, ...time }, width - 18, height - 42);
    document.body.append(el("section", { style: place }, el("h2", {}, title), content));
  }
}

draw(JSON.parse(document.getElementById("data").textContent));
