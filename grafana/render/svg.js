// Elements, axes and lines.

const SVG = "http://www.w3.org/2000/svg";

function el(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "text", "rect", "circle", "clipPath"].includes(name);
  const element = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const linear = (low, high, start, end) => (value) => start + ((value - low) / (high - low || 1)) * (end - start);
const logarithmic = (low, high, start, end) => {
  const scale = linear(Math.log10(low), Math.log10(high), start, end);
  return (value) => scale(Math.log10(value));
};

// The frame of a chart: grid lines with what they stand for, at the left (or right) and below.
function axes(svg, box, { x, y, xMarks, yMarks, yText, span, right }) {
  for (const mark of right ? [] : yMarks) {
    svg.append(el("line", { x1: box.left, x2: box.right, y1: y(mark), y2: y(mark), class: "grid" }));
  }
  for (const mark of yMarks) {
    const at = right ? box.right + 6 : box.left - 6;
    svg.append(el("text", { x: at, y: y(mark) + 4, class: right ? "tick start" : "tick end" }, yText(mark)));
  }
  for (const mark of xMarks ?? []) {
    svg.append(el("line", { x1: x(mark), x2: x(mark), y1: box.top, y2: box.bottom, class: "grid" }));
    const text = clock(mark, span);
    if (x(mark) + 3.4 * text.length > box.right + 10) continue; // it would be cut off
    svg.append(el("text", { x: x(mark), y: box.bottom + 16, class: "tick middle" }, text));
  }
}

// An SVG path through the points; a gap where one is missing. Points: [x, y] in pixels, or null.
function path(points) {
  let d = "";
  let pen = false;
  for (const point of points) {
    if (point) d += `${pen ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    pen = point !== null;
  }
  return d;
}

// The area between the points and the points below them, piece by piece.
function area(points, below) {
  let d = "";
  for (let start = 0; start < points.length;) {
    if (!points[start]) { start++; continue; }
    let end = start;
    while (end < points.length && points[end]) end++;
    d += `${path([...points.slice(start, end), ...below.slice(start, end).reverse()])}Z`;
    start = end;
  }
  return d;
}

// What the y axis' texts need, pixels.
const axisWidth = (marks, text) => 14 + 6.6 * Math.max(...marks.map((mark) => text(mark).length), 1);
