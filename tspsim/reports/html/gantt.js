// What every rank does: a row for compute and one per communicator, as in the gantt plot.
const ROW = { main: 22, lane: 14, space: 7, top: 16, axis: 22 };

// Back from gaps and lengths in ticks to seconds.
function unpack(row, tick) {
  const count = row.labels.length, start = new Float64Array(count), end = new Float64Array(count);
  let now = 0, longest = 0;
  for (let i = 0; i < count; i += 1) {
    now += row.times[2 * i];
    start[i] = now * tick;
    end[i] = (now + row.times[2 * i + 1]) * tick;
    longest = Math.max(longest, end[i] - start[i]);
  }
  return { ...row, start, end, longest, count };
}

// The first bar that may still be seen from a moment on.
function firstFrom(row, moment) {
  let low = 0, high = row.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row.start[middle] + row.longest < moment) low = middle + 1; else high = middle;
  }
  return low;
}

function hatch(pen, colour, ground, crossed) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 12;
  const on = tile.getContext("2d");
  on.fillStyle = ground;
  on.fillRect(0, 0, 12, 12);
  on.strokeStyle = colour;
  on.lineWidth = 2;
  const lines = [[-3, 9, 3, 15], [-3, 15, 15, -3], [9, 15, 15, 9]];
  const back = crossed ? [[-3, 3, 9, 15], [-3, -3, 15, 15], [3, -3, 15, 9]] : [];
  on.beginPath();
  [...lines.map(([a, b, c, d]) => [a, b, c, d]), ...back].forEach(([a, b, c, d]) => { on.moveTo(a, b); on.lineTo(c, d); });
  on.stroke();
  const pattern = pen.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(0.5));
  return pattern;
}

function fillOf(pen, style) {
  if (style.look === "wait") return hatch(pen, style.colour, style.ground, true);
  if (style.look === "hatch") return hatch(pen, "white", style.colour, false);
  return style.colour;
}

function isDark(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.3 * r + 0.59 * g + 0.11 * b < 125;
}

class Gantt {
  constructor(canvas, note, run) {
    this.canvas = canvas;
    this.run = run;
    const chart = run.gantt, tick = run.step / run.ticks;
    this.rows = chart.rows.map((row) => unpack(row, tick));
    this.layers = chart.layers.map(([at, name]) => [at * tick, name]);
    const pen = this.canvas.getContext("2d");
    this.fills = chart.styles.map((style) => fillOf(pen, style));
    this.text = chart.styles.map((style) => (style.look ? null : isDark(style.colour) ? "white" : "black"));
    note.textContent = chart.note && `Shown: ${chart.note}.`;
    let y = ROW.top;
    this.rows.forEach((row, place) => {
      if (row.main && place) y += ROW.space;
      row.y = y;
      row.height = row.main ? ROW.main : ROW.lane;
      y += row.height;
    });
    this.bottom = y + 2;
    interact(this.canvas, this);
  }

  draw() {
    const frame = this.frame = prepare(this.canvas, this.bottom + ROW.axis), { pen } = frame;
    timeAxis(frame, ROW.top, this.bottom);
    this.names(frame);
    pen.save();
    pen.beginPath();
    pen.rect(frame.left, 0, frame.span + 1, this.bottom);
    pen.clip();
    this.marks(frame);
    this.rows.forEach((row) => this.bars(frame, row));
    this.stop(frame);
    pen.restore();
  }

  names({ pen, left }) {
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    this.rows.forEach((row) => {
      const short = left < 100;
      const name = row.main ? `rank ${row.rank}` : short ? row.name.split("/").pop() : row.name;
      pen.font = `${row.main ? "bold " : ""}12px ${FONT}`;
      pen.fillStyle = row.main ? INK : SOFT;
      pen.fillText(name, left - 6, row.y + row.height / 2, left - 6);
    });
  }

  // Where the first rank begins a layer; its name where there is room.
  marks(frame) {
    const { pen } = frame;
    pen.font = `12px ${FONT}`;
    pen.textAlign = "left";
    pen.textBaseline = "top";
    let free = -Infinity, line = -Infinity;
    this.layers.forEach(([at, name], place) => {
      const next = place + 1 < this.layers.length ? this.layers[place + 1][0] : this.run.step;
      if (next < view.start || at > view.end) return;
      const x = Math.max(frame.x(at), frame.left), room = frame.x(next) - x;
      if (x - line > 3) {
        pen.fillStyle = "#d8d8d8";
        pen.fillRect(x, 0, 1, this.bottom);
        line = x;
      }
      pen.fillStyle = SOFT;
      const width = pen.measureText(name).width + 8;
      if (x >= free && width < room) { pen.fillText(name, x + 3, 3); free = x + width; }
    });
  }

  bars(frame, row) {
    const { pen } = frame, { labels, styles } = this.run.gantt;
    pen.font = `12px ${FONT}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    let painted = -Infinity;
    for (let i = firstFrom(row, view.start); i < row.count && row.start[i] <= view.end; i += 1) {
      const x = Math.max(frame.x(row.start[i]), frame.left - 2), end = Math.min(frame.x(row.end[i]), frame.right + 2);
      // Below a third of a pixel beside what is painted already, nothing would be seen.
      if (end - painted < 0.33) continue;
      const [style, text] = labels[row.labels[i]];
      const width = Math.max(end - x, 0.5), gap = width > 3 ? 0.5 : 0;
      pen.fillStyle = this.fills[style];
      pen.fillRect(x, row.y + 0.5, width - gap, row.height - 1);
      painted = Math.max(painted, end);
      if (text && this.text[style] && width > 7 * text.length + 4) {
        pen.fillStyle = this.text[style];
        pen.fillText(text, x + width / 2, row.y + row.height / 2 + 0.5);
      }
    }
  }

  // Where this run ends before the longest one does.
  stop(frame) {
    if (this.run.step >= view.longest * (1 - 1e-9) || this.run.step > view.end) return;
    const { pen } = frame, x = frame.x(this.run.step);
    pen.strokeStyle = INK;
    pen.setLineDash([4, 3]);
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x, this.bottom);
    pen.stroke();
    pen.setLineDash([]);
    pen.font = `12px ${FONT}`;
    pen.fillStyle = INK;
    pen.textAlign = "left";
    const text = `ends ${timeText(view.longest - this.run.step)} earlier`;
    if (x + pen.measureText(text).width + 6 < frame.right) pen.fillText(text, x + 5, this.bottom / 2);
  }

  // The row and the bar under a pointer.
  find(event) {
    const box = this.canvas.getBoundingClientRect(), frame = this.frame;
    const y = event.clientY - box.top, x = event.clientX - box.left;
    const row = this.rows.find((each) => y >= each.y && y < each.y + each.height);
    if (!row || x < frame.left) return null;
    const pixel = (view.end - view.start) / frame.span, moment = view.start + (x - frame.left) * pixel;
    let found = -1;
    for (let i = firstFrom(row, moment - pixel); i < row.count && row.start[i] <= moment + pixel; i += 1) {
      if (row.end[i] >= moment - pixel) found = i;
      if (row.start[i] <= moment && row.end[i] > moment) break;
    }
    return found < 0 ? null : { row, i: found };
  }

  point(event) {
    const hit = this.find(event);
    if (!hit) return hideTip();
    const { row, i } = hit, [style, , text] = this.run.gantt.labels[row.labels[i]];
    const name = this.run.gantt.styles[style].name;
    showTip(event, [
      text || name, `rank ${row.rank}, ${row.name}`,
      `${timeText(row.end[i] - row.start[i])}, from ${timeText(row.start[i])} to ${timeText(row.end[i])}`,
    ]);
  }

  // Zoom to what was clicked, with as much again on either side.
  enter(event) {
    const hit = this.find(event);
    if (!hit) return show(0, view.longest);
    const start = hit.row.start[hit.i], end = hit.row.end[hit.i], width = Math.max(end - start, view.longest * 1e-6);
    show(start - 2 * width, end + 2 * width);
  }
}

function legend(place, styles) {
  styles.forEach((style) => {
    const item = document.createElement("span"), swatch = document.createElement("canvas");
    swatch.width = 36;
    swatch.height = 22;
    const pen = swatch.getContext("2d");
    pen.scale(2, 2);
    pen.fillStyle = fillOf(pen, style);
    pen.fillRect(0, 0, 18, 11);
    item.append(swatch, style.name);
    place.append(item);
  });
}
