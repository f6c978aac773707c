// A table panel: the instant results of its targets, with the transformations `merge` and `organize`.

// The rows of one target: its labels, and the value under `Value`, or `Value #A` where there are several targets.
function frame(panel, target, results) {
  const value = panel.targets.length > 1 ? `Value #${target.refId}` : "Value";
  return results[target.refId].map(({ metric, values }) => ({ ...metric, [value]: values.at(-1)?.[1] ?? null }));
}

// Rows that agree in their labels become one.
function merge(rows) {
  const merged = new Map();
  for (const row of rows) {
    const labels = Object.entries(row).filter(([name]) => !name.startsWith("Value")).sort();
    const key = JSON.stringify(labels);
    merged.set(key, { ...merged.get(key), ...row });
  }
  return [...merged.values()];
}

function organize(rows, { excludeByName, indexByName, renameByName }) {
  const names = [...new Set([...Object.keys(indexByName), ...rows.flatMap(Object.keys)])]
    .filter((name) => !excludeByName[name])
    .sort((a, b) => (indexByName[a] ?? 99) - (indexByName[b] ?? 99));
  return { columns: names.map((name) => renameByName[name] ?? name),
    rows: rows.map((row) => Object.fromEntries(names.map((name) => [renameByName[name] ?? name, row[name]]))) };
}

function drawTable(panel, results, time, width, height) {
  let rows = panel.targets.flatMap((target) => frame(panel, target, results));
  if (!rows.length) return noData(panel);
  let columns = Object.keys(rows[0]);
  for (const { id, options } of panel.transformations ?? []) {
    if (id === "merge") rows = merge(rows);
    else if (id === "organize") ({ columns, rows } = organize(rows, options));
    else fail(`transformation ${id} is not one this renderer knows`);
  }
  const [order] = panel.options.sortBy ?? [];
  const rank = (row) => row[order.displayName] ?? -Infinity;
  if (order) rows.sort((a, b) => (rank(a) > rank(b) ? 1 : -1) * (order.desc ? -1 : 1));
  const fields = Object.fromEntries(columns.map((name) => [name, fieldOf(panel, name)]));
  const numeric = (name) => rows.some((row) => typeof row[name] === "number");
  const fits = Math.max(1, Math.floor((height - 34) / 28));
  const shown = rows.slice(0, rows.length > fits ? fits - 1 : fits);
  const cell = (row, name) => {
    const value = row[name] ?? null;
    const tinted = value !== null && fields[name].custom.cellOptions?.type === "color-text";
    return el("td", { class: numeric(name) ? "number" : "", style: tinted ? `color:${valueColour(fields[name], value)}` : "" },
      value === null ? "" : textOf(fields[name], value));
  };
  const body = shown.map((row) => el("tr", {}, ...columns.map((name) => cell(row, name))));
  if (shown.length < rows.length) body.push(el("tr", {}, el("td", { class: "more" }, `and ${rows.length - shown.length} more`)));
  return el("table", { class: "panel-table" },
    el("tr", {}, ...columns.map((name) => el("th", { class: numeric(name) ? "number" : "" }, name))), ...body);
}
