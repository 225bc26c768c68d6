// Explorer: one property of models against another, both chosen on the page.
const COLOURED_BY = ["kind", "family", "objective", "modality", "release year"];

function axes() {
  return [
    ["alignment", "mean alignment"],
    ...report.capabilities.map((c) => [`capability ${c.id}`, `${c.id} (${c.unit}, ${better(c)})`]),
    ["parameters", "parameters"],
    ["released", "release date"],
  ];
}

function partnerNames(dataset) {
  return [...new Set(report.means.filter((m) => m.dataset === dataset).map((m) => m.partners))];
}

function explorerPage(main, query) {
  const capability = report.capabilities.find((c) => c.id === report.headline.capability) ?? report.capabilities[0];
  const chosen = {
    dataset: report.datasets[0].id, metric: report.headline.metric, k: String(report.headline.k),
    x: capability ? `capability ${capability.id}` : "parameters", y: "alignment",
    population: "every model", partners: ALL_PARTNERS, colour: "kind",
  };
  for (const name of Object.keys(chosen)) chosen[name] = query.get(name) ?? chosen[name];
  main.append(h("h1", {}, "Explorer"));
  const controls = h("div", { class: "controls" });
  const said = h("div", { "aria-live": "polite" });
  const { figure, draw } = chart("Scatter of models, axes chosen above", `A point is a model; a click opens it. ${MARKS}`, "explorer");
  main.append(controls, said, figure);
  const update = () => {
    chosen.dataset = among(chosen.dataset, report.datasets.map((d) => d.id));
    const own = allScores.filter((s) => s.dataset === chosen.dataset);
    const metrics = [...new Set(own.map((s) => s.metric))];
    chosen.metric = among(chosen.metric, metrics);
    const ks = [...new Set(own.filter((s) => s.metric === chosen.metric).map((s) => s.k))].sort((a, b) => a - b);
    if (!ks.includes(Number(chosen.k))) chosen.k = String(ks[0] ?? 0);
    const values = axes().map(([value]) => value);
    [chosen.x, chosen.y] = [among(chosen.x, values), among(chosen.y, values)];
    const populations = ["every model", ...report.populations.map((p) => p.name)];
    chosen.population = among(chosen.population, populations);
    chosen.partners = among(chosen.partners, partnerNames(chosen.dataset));
    chosen.colour = among(chosen.colour, COLOURED_BY);
    keep("explorer", chosen);
    const set = (name) => (value) => { chosen[name] = value; update(); };
    keepFocus(controls, [
      select("Horizontal axis", axes(), chosen.x, set("x")),
      select("Vertical axis", axes(), chosen.y, set("y")),
      select("Dataset", report.datasets.map((d) => [d.id, d.id]), chosen.dataset, set("dataset")),
      select("Metric", metrics.map((m) => [m, m]), chosen.metric, set("metric")),
      select("k", ks.map((k) => [String(k), k ? String(k) : "none"]), chosen.k, set("k")),
      select("Models", populations.map((n) => [n, n]), chosen.population, set("population")),
      select("Alignment with", partnerNames(chosen.dataset).map((n) => [n, n === ALL_PARTNERS ? "all released models" : n]), chosen.partners, set("partners")),
      select("Colour", COLOURED_BY.map((n) => [n, n]), chosen.colour, set("colour")),
    ]);
    const points = pointsOf(chosen);
    said.replaceChildren(...inWords(chosen, points).map((line) => h("p", {}, line)));
    draw(groupsOf(points, (p) => groupOf(p.model, chosen.colour)), {
      height: 460, xaxis: axisOf(chosen.x), yaxis: axisOf(chosen.y),
    }, {
      headings: ["model", "modality", "family", nameOf(chosen.x), nameOf(chosen.y)],
      rows: points.map((p) => [modelLink(p.model), p.model.modality, p.model.family, p.x, p.y]),
    }, (point) => go("model", { id: point.customdata }));
  };
  update();
}

function nameOf(axis) {
  return axes().find(([value]) => value === axis)?.[1] ?? axis;
}

// Whether smaller values are better, and so to the right or up.
function isReversed(axis) {
  const capability = report.capabilities.find((c) => axis === `capability ${c.id}`);
  return Boolean(capability) && !capability.higher_is_better;
}

function axisOf(axis) {
  const found = { title: { text: plain(nameOf(axis)) } };
  if (axis === "parameters") return { ...found, type: "log" };
  if (axis === "released") return { ...found, type: "date" };
  return isReversed(axis) ? { ...found, autorange: "reversed" } : found;
}

function groupOf(model, by) {
  if (by === "kind") return kindOf(model);
  if (by === "release year") return model.released ? model.released.slice(0, 4) : "not known";
  return model[by];
}

function valueOn(axis, chosen) {
  if (axis === "alignment") {
    const means = meansOf(chosen.dataset, chosen.metric, Number(chosen.k), chosen.partners);
    return (model) => means[model.id] ?? null;
  }
  if (axis === "parameters" || axis === "released") return (model) => model[axis] ?? null;
  const values = valuesOf(axis.replace("capability ", ""));
  return (model) => values.get(model.id)?.value ?? null;
}

function pointsOf(chosen) {
  const population = report.populations.find((p) => p.name === chosen.population);
  const [x, y] = [valueOn(chosen.x, chosen), valueOn(chosen.y, chosen)];
  return models
    .filter((model) => !population || population.models.includes(model.id))
    .map((model) => ({ model, x: x(model), y: y(model) }))
    .filter((p) => p.x !== null && p.y !== null)
    .map((p) => ({ ...p, said: `${named(p.model)}\n${nameOf(chosen.x)} ${shown(p.x)}\n${nameOf(chosen.y)} ${shown(p.y)}` }));
}

// The trend with its interval where the sweep has one; else a correlation that claims nothing.
function inWords(chosen, points) {
  const counted = points.filter((p) => !p.model.control);
  const axesChosen = [chosen.x, chosen.y];
  const capability = axesChosen.find((axis) => axis.startsWith("capability "))?.slice("capability ".length);
  const headline = chosen.metric === report.headline.metric && Number(chosen.k) === report.headline.k;
  if (capability && axesChosen.includes("alignment") && headline) {
    const name = chosen.population === "every model" ? RELEASED : chosen.population;
    const trend = report.trends.find((t) => t.dataset === chosen.dataset && t.capability === capability && t.population === name && t.partners === chosen.partners);
    if (trend) return [`${capability}, ${trend.modality} models, population "${name}": ${trend.answer}.`];
  }
  if (axesChosen.includes("released") || counted.length < 4) return [`${points.length} models.`];
  const [turnX, turnY] = axesChosen.map((axis) => (isReversed(axis) ? -1 : 1));
  const rho = spearman(counted.map((p) => turnX * p.x), counted.map((p) => turnY * p.y));
  if (rho === null) return [`${points.length} models; one side does not vary.`];
  const families = new Set(counted.map((p) => p.model.family)).size;
  const sign = rho < 0 ? "−" : "+";
  return [`Spearman ${sign}${Math.abs(rho).toFixed(2)} of the values as drawn, ${counted.length} models of ${families} families, random controls left out. It has no interval, so it shows no trend: intervals are computed for the headline metric and capabilities.`];
}
