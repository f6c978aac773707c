// What a panel's fieldConfig says of one field, and colours.

const NAMED = {
  "green": "#73BF69", "dark-green": "#37872D", "yellow": "#F2CC0C", "orange": "#FF9830", "dark-orange": "#FA6400",
  "red": "#F2495C", "dark-red": "#C4162A", "blue": "#5794F2", "dark-blue": "#1F60C4", "purple": "#B877D9",
};
const PALETTE = ["#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0", "#37872D",
  "#FADE2A", "#447EBC", "#C15C17", "#890F02", "#6D1F62", "#584477", "#B7DBAB", "#F4D598", "#70DBED", "#F9BA8F",
  "#F29191", "#82B5D8", "#E5A8E2", "#AEA2E0", "#629E51"];

const colour = (name) => NAMED[name] ?? (name.startsWith("#") ? name : fail(`colour ${name} is not one this renderer knows`));

function fail(why) {
  throw new Error(why);
}

function matches(matcher, name) {
  if (matcher.id === "byName") return matcher.options === name;
  if (matcher.id === "byRegexp") return new RegExp(matcher.options.replace(/^\/|\/$/g, "")).test(name);
  return fail(`override matcher ${matcher.id} is not one this renderer knows`);
}

// The configuration of the field of that name: the defaults, and the overrides that name it laid over them.
function fieldOf(panel, name) {
  const field = structuredClone(panel.fieldConfig.defaults);
  field.custom ??= {};
  for (const override of panel.fieldConfig.overrides.filter((override) => matches(override.matcher, name))) {
    for (const { id, value } of override.properties) {
      if (id.startsWith("custom.")) field.custom[id.slice("custom.".length)] = value;
      else field[id] = value;
    }
  }
  return field;
}

function mapping(field, value) {
  for (const { type, options } of field.mappings ?? []) {
    if (type === "value" && String(value) in options) return options[String(value)];
    if (type === "range" && value >= (options.from ?? -Infinity) && value <= (options.to ?? Infinity)) {
      return options.result;
    }
  }
  return null;
}

// What is written for a value.
const textOf = (field, value) => mapping(field, value)?.text
  ?? (typeof value === "number" ? format(value, field.unit, field.decimals) : value);

function thresholdColour(field, value) {
  let name = "green";
  for (const step of field.thresholds?.steps ?? []) if (step.value === null || value >= step.value) name = step.color;
  return colour(name);
}

const valueColour = (field, value) => {
  const mapped = mapping(field, value)?.color;
  return mapped ? colour(mapped) : thresholdColour(field, value);
};

// A series' own colour: fixed, or its place in the palette.
const seriesColour = (field, index) =>
  field.color?.mode === "fixed" ? colour(field.color.fixedColor) : PALETTE[index % PALETTE.length];

const reducers = {
  lastNotNull: (values) => values.at(-1) ?? null,
  max: (values) => (values.length ? Math.max(...values) : null),
  min: (values) => (values.length ? Math.min(...values) : null),
  mean: (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null),
};
const REDUCER_NAMES = { lastNotNull: "Last *", max: "Max", min: "Min", mean: "Mean" };
const finite = (points) => points.map(([, value]) => value).filter(Number.isFinite);
const reduce = (calc, points) => (reducers[calc] ?? fail(`calculation ${calc} is not one this renderer knows`))(finite(points));

// The name of a series: its legend with the labels put in, or its labels.
function legendOf(target, labels) {
  if (target.legendFormat) return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "");
  const rest = Object.entries(labels).filter(([name]) => name !== "__name__");
  return rest.length ? `{${rest.map(([name, value]) => `${name}="${value}"`).join(", ")}}` : labels.__name__ ?? "Value";
}

// All series of a panel: name, field, colour, points.
function seriesOf(panel, results) {
  const all = [];
  for (const target of panel.targets) {
    for (const { metric, values } of results[target.refId]) {
      const name = legendOf(target, metric);
      const field = fieldOf(panel, name);
      all.push({ name, field, colour: seriesColour(field, all.length), points: values });
    }
  }
  return all;
}
