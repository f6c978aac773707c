// Values as Grafana writes them. Each unit: steps of [factor, suffix], the largest that fits is taken.

const SI = (suffix) => [[1, suffix], [1e3, `K${suffix}`], [1e6, ` Mil${suffix}`], [1e9, ` Bil${suffix}`]];
const UNITS = {
  none: [[1, ""]],
  locale: null,
  short: SI(""),
  reqps: [[1, " req/s"], [1e3, "K req/s"], [1e6, "M req/s"]],
  ops: [[1, " ops/s"], [1e3, "K ops/s"], [1e6, "M ops/s"]],
  percentunit: [[0.01, "%"]],
  bytes: [[1, " B"], [2 ** 10, " KiB"], [2 ** 20, " MiB"], [2 ** 30, " GiB"], [2 ** 40, " TiB"]],
  Bps: [[1, " B/s"], [1e3, " kB/s"], [1e6, " MB/s"], [1e9, " GB/s"], [1e12, " TB/s"]],
  s: [[1e-9, " ns"], [1e-6, " µs"], [1e-3, " ms"], [1, " s"], [60, " mins"], [3600, " hours"], [86400, " days"],
    [604800, " weeks"]],
};

// Enough decimals for three digits, none where the value needs none.
function decimalsFor(value) {
  if (value === 0 || Number.isInteger(value)) return 0;
  return Math.min(9, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
}

function format(value, unit, decimals) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
  if (!(unit in UNITS)) throw new Error(`unit ${unit} is not one this renderer knows`);
  if (unit === "locale") return value.toLocaleString("en", { maximumFractionDigits: decimals ?? 0 });
  let [factor, suffix] = UNITS[unit][0];
  const least = unit === "s" && value === 0 ? 1 : Math.abs(value);
  for (const step of UNITS[unit]) if (least >= step[0] * (1 - 1e-9)) [factor, suffix] = step;
  const scaled = value / factor;
  return scaled.toFixed(decimals ?? decimalsFor(Number(scaled.toPrecision(3)))) + suffix;
}

// About `count` round values from low to high: multiples of 1, 2 or 5, of 1024 for bytes, of 60 for minutes.
function ticks(low, high, count, unit) {
  const rough = (high - low) / count || 1;
  const candidates = [];
  if (unit === "bytes" && rough > 1) {
    for (let power = 0; power < 60; power++) candidates.push(2 ** power);
  } else if (unit === "s" && rough > 10) {
    candidates.push(15, 30, 60, 300, 900, 1800, 3600, 7200, 21600, 43200, 86400, 604800, 2592000);
  } else {
    const decade = 10 ** Math.floor(Math.log10(rough));
    candidates.push(decade, 2 * decade, 5 * decade, 10 * decade);
  }
  const step = candidates.find((candidate) => candidate >= rough * 0.999) ?? candidates.at(-1);
  const marks = [];
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9); k++) marks.push(k * step);
  return marks;
}

// The decades from low to high (for bytes, the powers of four), thinned to about `count`.
function logTicks(low, high, count, unit) {
  const base = unit === "bytes" ? 4 : 10;
  const first = Math.ceil(Math.log(low) / Math.log(base) - 1e-9);
  const last = Math.floor(Math.log(high) / Math.log(base) + 1e-9);
  const every = Math.max(1, Math.ceil((last - first + 1) / count));
  const marks = [];
  for (let power = first; power <= last; power += every) marks.push(base === 10 ? Number(`1e${power}`) : 4 ** power);
  return marks;
}

function timeTicks(from, to, count) {
  const steps = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
  const step = steps.find((candidate) => candidate >= (to - from) / count) ?? 2592000;
  const marks = [];
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) marks.push(time);
  return marks;
}

function clock(time, span) {
  const iso = new Date(time * 1000).toISOString();
  if (span > 3 * 86400) return iso.slice(5, 10);
  return span > 900 ? iso.slice(11, 16) : iso.slice(11, 19);
}
