// Throughput over one axis of a sweep, a line per candidate; the other axes are chosen.
const SVG = "http://www.w3.org/2000/svg";
function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  if (text !== undefined) made.textContent = text;
  return made;
}

class Lines {
  constructor(place, told) {
    this.told = told;
    this.place = place.querySelector(".chart");
    place.hidden = false;
    this.chosen = told.others.map((other) => other.shown);
    const choices = place.querySelector(".choices");
    told.others.forEach((other, at) => {
      const label = document.createElement("label"), select = document.createElement("select");
      other.values.forEach((value) => select.add(new Option(value, value, value === other.shown, value === other.shown)));
      select.addEventListener("change", () => { this.chosen[at] = select.value; this.draw(); });
      label.append(`${other.name} `, select);
      choices.append(label);
    });
  }

  draw() {
    const width = view.paper || this.place.clientWidth || 800, height = width < 600 ? 280 : 340;
    const box = { left: 84, right: width - 16, top: 10, bottom: height - 44 };
    const { told } = this, points = told.points.filter((point) => point.at.every((value, i) => value === this.chosen[i]));
    const xs = told.points.map((point) => point.x), low = Math.min(...xs), high = Math.max(...xs);
    const log = low > 0 && high / low >= 8, turn = log ? Math.log : (value) => value;
    const wide = turn(high) - turn(low) || 1;
    // The same scale whatever is chosen, so that choices can be compared.
    const most = 1.08 * Math.max(...told.points.map((point) => point.y)) || 1;
    const x = (value) => box.left + ((turn(value) - turn(low)) / wide) * (box.right - box.left - 70) + 10;
    const y = (value) => box.bottom - (value / most) * (box.bottom - box.top);
    const drawn = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Tokens per second and device over ${told.axis}` });
    this.axes(drawn, box, x, y, most, width, height);
    const names = Object.keys(told.colours).filter((name) => points.some((point) => point.name === name));
    names.forEach((name) => this.line(drawn, points.filter((point) => point.name === name), told.colours[name], x, y));
    this.place.replaceChildren(drawn);
    this.names(names);
  }

  axes(drawn, box, x, y, most, width, height) {
    const { told } = this;
    ticks(0, most, 5).found.forEach((tick) => {
      drawn.append(element("line", { x1: box.left, x2: box.right, y1: y(tick), y2: y(tick), stroke: GRID }));
      drawn.append(element("text", { x: box.left - 6, y: y(tick) + 4, "text-anchor": "end", "font-size": 12, fill: SOFT }, tick.toLocaleString("en")));
    });
    let free = -Infinity;
    const seen = new Map(told.points.map((point) => [point.x, point.xt]));
    [...seen.entries()].sort((a, b) => a[0] - b[0]).forEach(([value, text]) => {
      const at = x(value), half = 3.5 * text.length;
      drawn.append(element("line", { x1: at, x2: at, y1: box.bottom, y2: box.bottom + 4, stroke: SOFT }));
      if (at - half < free) return;
      free = at + half + 6;
      drawn.append(element("text", { x: at, y: box.bottom + 17, "text-anchor": "middle", "font-size": 12, fill: SOFT }, text));
    });
    drawn.append(element("text", { x: (box.left + box.right) / 2, y: height - 8, "text-anchor": "middle", "font-size": 12, fill: INK }, told.axis));
    drawn.append(element("text", { x: 12, y: (box.top + box.bottom) / 2, "text-anchor": "middle", "font-size": 12, fill: INK, transform: `rotate(-90 12 ${(box.top + box.bottom) / 2})` }, "tokens/s per device"));
  }

  line(drawn, points, colour, x, y) {
    points.sort((a, b) => a.x - b.x);
    if (!this.told.cloud) points.slice(1).forEach((point, i) => {
      const before = points[i], dashed = point.fits && before.fits ? {} : { "stroke-dasharray": "4 4" };
      drawn.append(element("line", { x1: x(before.x), y1: y(before.y), x2: x(point.x), y2: y(point.y), stroke: colour, "stroke-width": 2, ...dashed }));
    });
    points.forEach((point) => {
      const dot = element("circle", { cx: x(point.x), cy: y(point.y), r: 5, fill: point.fits ? colour : "white", stroke: colour, "stroke-width": 2 });
      const lines = [`${point.name}, ${this.told.axis} ${point.xt}`, `${Math.round(point.y).toLocaleString("en")} tokens/s per device`, point.told];
      dot.append(element("title", {}, lines.join("\n")));
      dot.addEventListener("pointermove", (event) => showTip(event, lines));
      dot.addEventListener("pointerleave", hideTip);
      drawn.append(dot);
    });
  }

  names(names) {
    const made = document.createElement("div");
    made.className = "legend";
    names.forEach((name) => {
      const item = document.createElement("span"), swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = this.told.colours[name];
      item.append(swatch, name);
      made.append(item);
    });
    this.place.prepend(made);
  }
}
