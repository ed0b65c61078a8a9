// One stretch of time, in seconds, that all charts of the page show: zooming one zooms all.
const data = JSON.parse(document.getElementById("data").textContent);
const view = { start: 0, end: 1, longest: Math.max(1e-12, ...data.runs.map((run) => run.step)), charts: [], pending: false, paper: 0 };
view.end = view.longest;
const INK = "#1b1b1b", SOFT = "#5c5c5c", GRID = "#e4e4e4", FONT = "system-ui, sans-serif";

function redraw() {
  if (view.pending) return;
  view.pending = true;
  requestAnimationFrame(() => { view.pending = false; view.charts.forEach((chart) => chart.draw()); });
}

// Show a stretch: never more than the longest step, never less than a millionth of it.
function show(start, end) {
  const width = Math.min(Math.max(end - start, view.longest * 1e-6), view.longest);
  view.start = Math.min(Math.max(start, 0), view.longest - width);
  view.end = view.start + width;
  redraw();
}

function zoom(factor, at = 0.5) {
  const width = view.end - view.start, fixed = view.start + at * width;
  const wanted = Math.min(width * factor, view.longest);
  show(fixed - at * wanted, fixed + (1 - at) * wanted);
}

function pan(fraction) {
  const by = fraction * (view.end - view.start);
  show(view.start + by, view.end + by);
}

const DO = { in: () => zoom(0.5), out: () => zoom(2), left: () => pan(-0.25), right: () => pan(0.25), all: () => show(0, view.longest) };
const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all", Home: "all" };

// ---- numbers as people read them ----
function unitOf(seconds) {
  return seconds >= 10 ? [1, "s"] : seconds >= 1e-4 ? [1e-3, "ms"] : [1e-6, "µs"];
}

function timeText(seconds) {
  if (!seconds) return "0 s";
  const [scale, name] = unitOf(Math.abs(seconds)), value = seconds / scale, size = Math.abs(value);
  const digits = size >= 100 ? 1 : size >= 10 ? 2 : 3;
  return `${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${name}`;
}

function sizeText(kib) {
  const [scale, name] = kib >= 0.1 * 2 ** 20 ? [2 ** 20, "GiB"] : kib >= 102.4 ? [2 ** 10, "MiB"] : [1, "KiB"];
  return `${(kib / scale).toLocaleString("en", { maximumFractionDigits: kib / scale >= 10 ? 1 : 2 })} ${name}`;
}

// Round numbers between two ends, about `count` of them.
function ticks(start, end, count) {
  const rough = (end - start) / Math.max(count, 1), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
  const found = [];
  for (let n = Math.ceil(start / step - 1e-9) + 0; n * step <= end * (1 + 1e-12); n += 1) found.push(n * step);
  return { found, step };
}

// ---- a canvas as wide as its place, sharp on every screen ----
function prepare(canvas, height) {
  const width = view.paper || canvas.clientWidth || canvas.parentElement.clientWidth, ratio = Math.max(window.devicePixelRatio || 1, 2);
  canvas.style.height = `${height}px`;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const left = width < 600 ? 62 : 118;
  canvas.dataset.view = `${view.start} ${view.end}`;
  const span = width - left - 12;
  return { pen, width, height, left, right: left + span, span, x: (seconds) => left + ((seconds - view.start) / (view.end - view.start)) * span };
}

function timeAxis(frame, top, bottom) {
  const { pen } = frame, [scale, name] = unitOf(view.longest);
  const { found, step } = ticks(view.start / scale, view.end / scale, frame.span / 90);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  pen.font = `12px ${FONT}`;
  pen.textBaseline = "top";
  found.forEach((tick) => {
    const x = frame.x(tick * scale);
    pen.fillStyle = GRID;
    pen.fillRect(x, top, 1, bottom - top);
    const text = tick.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    pen.fillStyle = SOFT;
    pen.textAlign = "center";
    if (x + pen.measureText(text).width / 2 < frame.right - 20) pen.fillText(text, x, bottom + 4);
  });
  pen.textAlign = "right";
  pen.fillText(`[${name}]`, frame.width, bottom + 4);
}

// ---- the tip beside the pointer ----
const tip = document.getElementById("tip");
function showTip(event, lines) {
  tip.replaceChildren();
  lines.forEach((line, place) => {
    const part = document.createElement(place ? "span" : "b");
    part.textContent = line;
    tip.append(part, ...(place ? [document.createElement("br")] : []));
  });
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - width - 4))}px`;
  tip.style.top = `${event.clientY + 18 + height > window.innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
}
const hideTip = () => { tip.hidden = true; };

// ---- fingers, mouse, wheel and keys ----
function interact(canvas, chart) {
  const held = new Map();
  let moved = 0;
  const at = (event) => {
    const box = canvas.getBoundingClientRect(), frame = chart.frame;
    return (event.clientX - box.left - frame.left) / frame.span;
  };
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(Math.exp(Math.max(-50, Math.min(event.deltaY, 50)) * 0.01), at(event));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, event);
    moved = 0;
    canvas.setPointerCapture(event.pointerId);
    canvas.classList.add("dragged");
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return event.pointerType === "touch" ? undefined : chart.point(event);
    held.set(event.pointerId, event);
    hideTip();
    if (held.size === 2) {
      const [a, b] = [...held.values()], other = a === event ? b : a;
      const wide = Math.abs(before.clientX - other.clientX), now = Math.abs(event.clientX - other.clientX);
      if (wide > 4 && now > 4) zoom(wide / now, (at(event) + at(other)) / 2);
    } else {
      moved += Math.abs(event.clientX - before.clientX);
      pan(at(before) - at(event));
    }
  });
  const release = (event) => {
    if (held.delete(event.pointerId) && event.type === "pointerup" && moved < 4) chart.point(event);
    if (!held.size) canvas.classList.remove("dragged");
  };
  ["pointerup", "pointercancel"].forEach((name) => canvas.addEventListener(name, release));
  canvas.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && hideTip());
  canvas.addEventListener("dblclick", (event) => chart.enter(event));
  canvas.addEventListener("keydown", (event) => {
    const name = KEYS[event.key];
    if (!name || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    DO[name]();
  });
}
