// What fills the fullest rank's memory over the step: `bands` of it, one on top of the other.
class Memory {
  constructor(canvas, run, bands) {
    this.canvas = canvas;
    this.run = run;
    const memory = this.memory = bands, tick = run.step / run.ticks;
    this.times = memory.times.map((time) => time * tick);
    this.peak = [memory.peak[0] * tick, memory.peak[1], memory.peak[2]];
    // The same top on every chart of the page, and no capacity so far up that it flattens them.
    const highest = Math.max(...data.runs.map((each) => each.memory.peak[1]));
    const capacity = Math.max(...data.runs.map((each) => each.memory.capacity));
    this.far = capacity > 2.5 * highest;
    this.top = 1.15 * (this.far ? highest : Math.max(highest, capacity));
    interact(this.canvas, this);
  }

  draw() {
    const height = 240, top = 18, bottom = height - 22;
    const frame = this.frame = prepare(this.canvas, height), { pen } = frame;
    const y = (kib) => bottom - (kib / this.top) * (bottom - top);
    timeAxis(frame, top, bottom);
    this.scale(frame, y);
    pen.save();
    pen.beginPath();
    pen.rect(frame.left, 0, frame.span + 1, bottom);
    pen.clip();
    this.areas(frame, y);
    this.phases(frame);
    this.mark(frame, y);
    pen.restore();
  }

  scale(frame, y) {
    const { pen } = frame, gib = 2 ** 20;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const { found, step } = ticks(0, this.top / gib, 4);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    found.forEach((tick) => {
      pen.fillStyle = GRID;
      pen.fillRect(frame.left, y(tick * gib), frame.span, 1);
      pen.fillStyle = SOFT;
      pen.fillText(`${tick.toFixed(digits)} GiB`, frame.left - 6, y(tick * gib));
    });
  }

  areas(frame, y) {
    const { pen } = frame, count = this.times.length, base = new Float64Array(count);
    this.memory.kinds.forEach((kind) => {
      pen.fillStyle = kind.colour;
      pen.beginPath();
      for (let i = 0; i < count; i += 1) {
        const x = frame.x(this.times[i]), next = frame.x(i + 1 < count ? this.times[i + 1] : this.run.step);
        pen.lineTo(x, y(base[i] + kind.kib[i]));
        pen.lineTo(next, y(base[i] + kind.kib[i]));
      }
      for (let i = count - 1; i >= 0; i -= 1) {
        const x = frame.x(this.times[i]), next = frame.x(i + 1 < count ? this.times[i + 1] : this.run.step);
        pen.lineTo(next, y(base[i]));
        pen.lineTo(x, y(base[i]));
        base[i] += kind.kib[i];
      }
      pen.fill();
    });
  }

  phases(frame) {
    const { pen } = frame, tick = this.run.step / this.run.ticks;
    pen.font = `12px ${FONT}`;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    this.memory.phases.forEach(([name, start, end], place) => {
      const x = Math.max(frame.x(start * tick), frame.left), stop = Math.min(frame.x(end * tick), frame.right);
      if (stop <= x) return;
      pen.fillStyle = place % 2 ? "#444444" : "#bbbbbb";
      pen.fillRect(x, 14, stop - x, 3);
      pen.fillStyle = SOFT;
      if (stop - x > 7.5 * name.length) pen.fillText(name, (x + stop) / 2, 0);
    });
  }

  mark(frame, y) {
    const { pen } = frame, [at, peak, text] = this.peak, over = !this.memory.fits;
    if (!this.far || over) {
      pen.strokeStyle = over ? "#D55E00" : "#444444";
      pen.lineWidth = 1.5;
      pen.setLineDash([6, 4]);
      pen.beginPath();
      pen.moveTo(frame.left, y(this.memory.capacity));
      pen.lineTo(frame.right, y(this.memory.capacity));
      pen.stroke();
      pen.setLineDash([]);
      this.say(frame, this.memory.capacity_text, frame.right - 4, y(this.memory.capacity) + 3, "right", pen.strokeStyle);
    }
    const x = frame.x(at);
    pen.fillStyle = INK;
    pen.beginPath();
    pen.arc(x, y(peak), 3.5, 0, 7);
    pen.fill();
    const right = x > (frame.left + frame.right) / 2;
    this.say(frame, `peak ${text}`, x + (right ? -7 : 7), y(peak) - 15, right ? "right" : "left", INK);
  }

  // Text on a light ground, so that it can be read over any colour.
  say({ pen }, text, x, y, align, colour) {
    pen.font = `12px ${FONT}`;
    pen.textAlign = align;
    pen.textBaseline = "top";
    const width = pen.measureText(text).width;
    pen.fillStyle = "#ffffffd0";
    pen.fillRect(align === "right" ? x - width - 2 : x - 2, y - 1, width + 4, 14);
    pen.fillStyle = colour;
    pen.fillText(text, x, y);
  }

  moment(event) {
    const frame = this.frame, x = event.clientX - this.canvas.getBoundingClientRect().left;
    return view.start + ((x - frame.left) / frame.span) * (view.end - view.start);
  }

  point(event) {
    const moment = this.moment(event);
    if (moment < view.start || moment > this.run.step) return hideTip();
    let i = this.times.findIndex((time) => time > moment);
    i = (i < 0 ? this.times.length : i) - 1;
    const held = this.memory.kinds.map((kind) => [kind.name, kind.kib[i]]).filter(([, kib]) => kib).reverse();
    const total = held.reduce((sum, [, kib]) => sum + kib, 0);
    showTip(event, [`${sizeText(total)} at ${timeText(moment)}`, ...held.map(([name, kib]) => `${name}: ${sizeText(kib)}`)]);
  }

  enter(event) {
    const moment = this.moment(event), width = (view.end - view.start) / 4;
    show(moment - width / 2, moment + width / 2);
  }
}
