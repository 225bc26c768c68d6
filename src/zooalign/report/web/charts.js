// Charts, all drawn by Plotly; colours that colour-blind readers tell apart (Okabe and Ito).
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f", "#a6761d", "#b2df8a"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "x"];
// More names than this would cover each other.
const MOST_NAMED = 14;
const drawn = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Plotly reads some markup in its texts; names must stay names.
function plain(value) {
  return String(value).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

// Text of several lines.
function lines(value) {
  return plain(value).replaceAll("\n", "<br>");
}

function layoutOf(layout) {
  const axis = { gridcolor: colour("grid"), linecolor: colour("line"), zerolinecolor: colour("grid"), automargin: true };
  const full = {
    paper_bgcolor: colour("back"), plot_bgcolor: colour("back"), hovermode: "closest",
    font: { color: colour("ink"), size: 13, family: getComputedStyle(document.body).fontFamily },
    margin: { l: 60, r: 12, t: 12, b: 50 }, legend: { orientation: "h", y: -0.2 },
    hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: colour("ink") }, align: "left" },
    ...layout,
  };
  for (const name of Object.keys(full).filter((key) => /^[xy]axis/.test(key))) {
    const title = full[name].title && { standoff: 10, ...full[name].title, font: { size: 13 } };
    full[name] = { ...axis, ...full[name], title };
  }
  return full;
}

// A figure: the chart as one picture for screen readers, its numbers as a table, and a way to save it.
function chart(label, caption, name) {
  const plot = h("div", { class: "chart", role: "img", "aria-label": label });
  const numbers = h("div", {});
  const more = h("details", {}, h("summary", {}, "The numbers of this chart"), numbers);
  const button = h("button", { type: "button", onclick: () => Plotly.downloadImage(plot, { format: "svg", filename: name, width: 1000, height: 700 }) }, "Save as SVG");
  const figure = h("figure", {}, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, plot), h("figcaption", {}, caption), h("div", { class: "under" }, button, more));
  const draw = (traces, layout, rows, opened) => {
    drawn.set(plot, layout);
    plot.style.height = layout.height ? `${layout.height}px` : "";
    plot.style.minWidth = layout.narrowest ? `${layout.narrowest}px` : "";
    const { narrowest, ...rest } = layout;
    Plotly.react(plot, traces, layoutOf(rest), { displayModeBar: false, responsive: true });
    plot.removeAllListeners?.("plotly_click");
    if (opened) plot.on("plotly_click", (event) => opened(event.points[0]));
    numbers.replaceChildren(rows ? table(`Numbers: ${label}`, rows.headings, rows.rows) : "");
    more.hidden = !rows;
  };
  return { figure, draw };
}

function redraw() {
  for (const [plot, { narrowest, ...layout }] of drawn) {
    if (plot.isConnected) Plotly.relayout(plot, layoutOf(layout));
    else drawn.delete(plot);
  }
}

function forgetCharts() {
  for (const plot of drawn.keys()) Plotly.purge(plot);
  drawn.clear();
}

// Traces of a scatter, one per group; every point knows its model.
function groupsOf(points, group) {
  const place = (name) => KINDS.indexOf(name);
  const names = [...new Set(points.map(group))].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
  const named = points.length <= MOST_NAMED && innerWidth > 700;
  // A name is on the side away from the nearest point.
  const away = (p) => {
    const [near] = points.filter((q) => q !== p).sort((a, b) => Math.abs(a.x - p.x) - Math.abs(b.x - p.x));
    return near && near.y > p.y ? "bottom center" : "top center";
  };
  return names.map((name, i) => {
    const own = points.filter((point) => group(point) === name);
    return {
      type: "scatter", mode: named ? "markers+text" : "markers", name: plain(name),
      text: own.map((p) => plain(p.model.id)), textposition: own.map(away), textfont: { size: 11 }, cliponaxis: false,
      x: own.map((p) => p.x), y: own.map((p) => p.y), customdata: own.map((p) => p.model.id),
      error_x: own.some((p) => p.error) ? { type: "data", array: own.map((p) => p.error ?? 0), thickness: 1, width: 2 } : undefined,
      hovertext: own.map((p) => lines(p.said)), hoverinfo: "text",
      marker: {
        size: 11, color: PALETTE[i % PALETTE.length], line: { width: 1.5, color: own.map((p) => (mark(p.model) ? PALETTE[i % PALETTE.length] : colour("back"))) },
        symbol: own.map((p) => SYMBOLS[Math.floor(i / PALETTE.length) % SYMBOLS.length] + (mark(p.model) ? "-open" : "")),
      },
    };
  });
}
