// Charts into their places, buttons to what they do, headings to the order of their tables.
const placed = (name) => document.querySelectorAll(name);
// A chart of its own, with its own legend: other runs have other layers.
function byLayer(canvas, run) {
  canvas.parentElement.hidden = canvas.closest("section").hidden = false;
  legend(canvas.nextElementSibling, [...run.layers.kinds].reverse());
  view.charts.push(new Memory(canvas, run, run.layers));
}
data.runs.forEach((run, at) => {
  view.charts.push(new Gantt(placed("canvas.gantt")[at], placed(".gantt-note")[at], run));
  view.charts.push(new Memory(placed("canvas.memory")[at], run, run.memory));
  if (run.layers) byLayer(placed("canvas.layers")[at], run);
});
placed(".tools button").forEach((button) => button.addEventListener("click", DO[button.dataset.do]));
// One legend for all runs: what any of them has, in the order in which they have it.
function together(name, lists) {
  const all = new Map(lists.flat().map((style) => [style.name, style]));
  placed(name).forEach((place) => legend(place, [...all.values()]));
}
together(".gantt-legend", data.runs.map((run) => run.gantt.styles));
together(".memory-legend", data.runs.map((run) => [...run.memory.kinds].reverse()));
if (data.lines) view.charts.push(new Lines(document.getElementById("lines"), data.lines));

document.querySelectorAll("table.sortable").forEach((table) => {
  const body = table.tBodies[0], heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, at) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[at].dataset.by, sign = down ? -1 : 1;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (!x || !y) return Boolean(y) - Boolean(x); // what has no figure stands at the end
      const order = Number.isNaN(Number(x)) || Number.isNaN(Number(y)) ? x.localeCompare(y) : x - y;
      return sign * order;
    });
    body.append(...rows);
  }));
});

// Paper has a width of its own, whatever screen the page is printed from.
addEventListener("beforeprint", () => { view.paper = 760; view.charts.forEach((chart) => chart.draw()); });
addEventListener("afterprint", () => { view.paper = 0; redraw(); });

let width = 0;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  redraw();
}).observe(document.body);
redraw();
