// Matrix: every pair of models. A pointer over a cell says what is known of the pair, a click opens it.
const ORDERS = {
  family: "family, then mean score",
  mean: "mean score",
  name: "name",
};
const COLOURS = { score: "score", calibrated: "calibrated score" };

function labelsOf(dataset) {
  const found = new Map();
  for (const s of allScores) if (s.dataset === dataset) found.set(`${s.metric}@${s.k}`, s.label);
  return [...found];
}

function headlineKey() {
  return `${report.headline.metric}@${report.headline.k}`;
}

function split(key) {
  const at = key.lastIndexOf("@");
  return [key.slice(0, at), Number(key.slice(at + 1))];
}

function matrixPage(main, query) {
  const chosen = {
    dataset: query.get("dataset") ?? report.datasets[0].id,
    metric: query.get("metric") ?? headlineKey(),
    comparison: query.get("comparison") ?? "",
    order: query.get("order") ?? "family",
    colour: query.get("colour") ?? "score",
  };
  main.append(h("h1", {}, "Every pair of models"));
  const controls = h("div", { class: "controls" });
  const { figure, draw } = chart("Matrix of the scores of every pair of models",
    `The highest score of all layer pairs. Point at a cell for its interval, layers and calibrated value; a click opens the pair. ${MARKS}`, "matrix");
  const finder = h("div", {});
  main.append(controls, figure, h("h2", {}, "Open a pair"), finder);
  const update = () => {
    chosen.dataset = among(chosen.dataset, report.datasets.map((d) => d.id));
    chosen.metric = among(chosen.metric, labelsOf(chosen.dataset).map(([key]) => key));
    chosen.order = among(chosen.order, Object.keys(ORDERS));
    chosen.colour = among(chosen.colour, Object.keys(COLOURS));
    const comparisons = report.datasets.find((d) => d.id === chosen.dataset).comparisons;
    if (!comparisons.includes(chosen.comparison)) chosen.comparison = comparisons.includes("vision-language") ? "vision-language" : comparisons[0];
    keep("matrix", chosen);
    const set = (name) => (value) => { chosen[name] = value; update(); };
    keepFocus(controls, [
      select("Dataset", report.datasets.map((d) => [d.id, d.id]), chosen.dataset, set("dataset")),
      select("Metric", labelsOf(chosen.dataset), chosen.metric, set("metric")),
      select("Models", comparisons.map((c) => [c, c.replace("-", " and ")]), chosen.comparison, set("comparison")),
      select("Order", Object.entries(ORDERS), chosen.order, set("order")),
      select("Colour", Object.entries(COLOURS), chosen.colour, set("colour")),
    ]);
    drawMatrix(draw, chosen);
    finder.replaceChildren(pairFinder(chosen.dataset));
  };
  update();
}

function drawMatrix(draw, { dataset, metric, comparison, order, colour: shade }) {
  const [scores] = scoresOf(dataset, ...split(metric), comparison);
  if (!scores) {
    nothing(draw, "This was not computed.");
    return;
  }
  if (!scores[shade]) {
    nothing(draw, `${scores.label} has no ${COLOURS[shade]}: no null was asked for.`);
    return;
  }
  const [rows, columns] = comparison.split("-").map((modality) => ordered(scores, modality, order));
  const z = rows.map((y) => columns.map((x) => valueAt(scores, y, x, shade)));
  const said = rows.map((y) => columns.map((x) => pairText(scores, y, x)));
  const known = z.flat().filter((value) => value !== null);
  draw([{
    type: "heatmap", z, text: said, hoverinfo: "text", colorscale: "Viridis", xgap: 0.5, ygap: 0.5,
    x: columns.map((_, i) => i), y: rows.map((_, i) => i), zmin: Math.min(0, ...known),
    colorbar: { thickness: 12, len: 160, lenmode: "pixels", y: 1, yanchor: "top", title: { text: plain(shade === "score" ? scores.label : "calibrated"), side: "right" } },
  }], {
    height: Math.max(300, 15 * rows.length + 170), narrowest: Math.max(320, 13 * columns.length + 260),
    xaxis: ticks(columns, { tickangle: -60 }), yaxis: ticks(rows, { autorange: "reversed" }),
  }, {
    headings: ["first", "second", "score", "interval", "calibrated", "q", "layers"],
    rows: bestPairs(scores),
  }, (point) => {
    const [y, x] = [rows[point.pointIndex[0]], columns[point.pointIndex[1]]];
    if (y.id !== x.id) go("pair", { dataset, x: y.id, y: x.id });
  });
}

function nothing(draw, said) {
  draw([], { height: 200, xaxis: { visible: false }, yaxis: { visible: false }, annotations: [{ text: plain(said), showarrow: false }] });
}

// Of a directed metric, a square of one modality has the scores that were computed and does not mirror them.
function cellOf(scores, a, b) {
  return scores.symmetric ? placeOf(scores, a.place, b.place) : exactPlace(scores, a.place, b.place);
}

function ticks(of, more) {
  return {
    tickvals: of.map((_, i) => i), ticktext: of.map((m) => plain(named(m))), tickfont: { size: of.length > 40 ? 8 : 11 },
    showgrid: false, zeroline: false, ...more,
  };
}

function valueAt(scores, a, b, what) {
  const at = cellOf(scores, a, b);
  return at < 0 ? null : of(scores, what, at);
}

function ordered(scores, modality, order) {
  const sums = new Map();
  const add = (place, score) => {
    const [sum, n] = sums.get(place) ?? [0, 0];
    sums.set(place, [sum + score, n + 1]);
  };
  scores.score.forEach((score, i) => {
    if (score === null) return;
    add(scores.x[i], score);
    add(scores.y[i], score);
  });
  const own = [...modelById.values()].filter((m) => m.modality === modality && sums.has(m.place));
  const mean = (m) => sums.get(m.place)[0] / sums.get(m.place)[1];
  const byName = (a, b) => (a.id < b.id ? -1 : 1);
  const byMean = (a, b) => mean(b) - mean(a) || byName(a, b);
  const byFamily = (a, b) => (a.family === b.family ? byMean(a, b) : a.family < b.family ? -1 : 1);
  return own.sort({ family: byFamily, mean: byMean, name: byName }[order] ?? byName);
}

function pairFacts(scores, at) {
  return [
    ["score", shown(scores.score[at])],
    [intervalName(), interval(of(scores, "low", at), of(scores, "high", at))],
    ["calibrated", shown(of(scores, "calibrated", at))],
    ["chance", shown(scores.chance)],
    ["p", shown(of(scores, "p", at))],
    ["q", shown(of(scores, "q", at))],
    ["best layers", layerNames(scores, at).join(" and ")],
  ].filter(([, value]) => value !== "");
}

function pairText(scores, a, b) {
  const at = cellOf(scores, a, b);
  if (at < 0) return plain(`${a.id}, ${b.id}: no score`);
  const names = `${models[scores.x[at]].id}, ${models[scores.y[at]].id}`;
  return [names, ...pairFacts(scores, at).map(([name, value]) => `${name} ${value}`)].map(plain).join("<br>");
}

function bestPairs(scores) {
  const order = scores.score.map((_, i) => i).filter((i) => scores.score[i] !== null).sort((i, j) => scores.score[j] - scores.score[i]);
  return order.slice(0, 200).map((i) => {
    const [x, y] = [models[scores.x[i]], models[scores.y[i]]];
    return [pairLink(scores.dataset, x, y, named(x)), named(y), scores.score[i],
      interval(of(scores, "low", i), of(scores, "high", i)), of(scores, "calibrated", i), of(scores, "q", i), layerNames(scores, i).join(", ")];
  });
}

function pairFinder(dataset, x = models[0].id, y = (models.find((m) => m.modality !== models[0].modality) ?? models[models.length - 1]).id) {
  const chosen = { x, y };
  const names = models.map((m) => [m.id, named(m)]);
  return h("div", { class: "controls" },
    select("First model", names, x, (value) => { chosen.x = value; }),
    select("Second model", names, y, (value) => { chosen.y = value; }),
    h("button", { type: "button", onclick: () => go("pair", { dataset, ...chosen }) }, "Open the pair"));
}
