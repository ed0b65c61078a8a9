// Charts into their places, buttons to what they do, headings to the order of their tables.
document.querySelectorAll("section.run").forEach((place) => {
  const run = data.runs[Number(place.dataset.run)];
  view.charts.push(new Gantt(place, run), new Memory(place, run));
  place.querySelectorAll(".tools button").forEach((button) => button.addEventListener("click", DO[button.dataset.do]));
});
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

let width = 0;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  redraw();
}).observe(document.body);
redraw();
