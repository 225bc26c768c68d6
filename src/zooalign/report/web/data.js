// Data of the report. Blocks are gzip in base64, unpacked when a page first needs them.
const blocks = new Map();

async function bytes(text) {
  const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function isIn(name) {
  return document.getElementById(name) !== null;
}

async function text(name) {
  return new TextDecoder().decode(await bytes(document.getElementById(name).textContent));
}

function block(name) {
  if (!blocks.has(name)) blocks.set(name, text(name).then(JSON.parse));
  return blocks.get(name);
}

// Plotly is packed, too; the policy of the page knows its hash.
async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = await text("plotly");
  document.head.append(script);
}

const report = await block("document");
const models = report.models;
const modelById = new Map(models.map((model, i) => [model.id, { ...model, place: i }]));
const OTHER = { vision: "language", language: "vision" };
const RELEASED = "released";
const ALL_PARTNERS = "all";

function mark(model) {
  return model.control ? " †" : model.intervention ? " ‡" : "";
}

// Scores of pairs are many: they are read when a page first shows some.
let allScores = [];
async function loadScores() {
  allScores = await block("scores");
}

// A property of a pair; columns without any value are left out.
function of(scores, name, at) {
  return scores[name]?.[at] ?? null;
}

function layerName(place, layer) {
  return report.layers[models[place].id]?.[layer] ?? `layer ${layer}`;
}

function layerNames(scores, at) {
  return [layerName(scores.x[at], scores.layer_x[at]), layerName(scores.y[at], scores.layer_y[at])];
}

function named(model) {
  return model.id + mark(model) + (model.imported ? " ⇣" : "");
}

function scoresOf(dataset, metric, k, comparison) {
  return allScores.filter(
    (s) => s.dataset === dataset && (metric === undefined || (s.metric === metric && s.k === k)) &&
      (comparison === undefined || s.comparison === comparison),
  );
}

// Position of a pair in a block of scores, in this order of the two; -1 where it has none.
const places = new WeakMap();
function exactPlace(scores, x, y) {
  if (!places.has(scores)) {
    places.set(scores, new Map(scores.x.map((a, i) => [`${a}|${scores.y[i]}`, i])));
  }
  return places.get(scores).get(`${x}|${y}`) ?? -1;
}

// The same, whichever way round.
function placeOf(scores, x, y) {
  const at = exactPlace(scores, x, y);
  return at < 0 ? exactPlace(scores, y, x) : at;
}

// What was chosen, or the first choice where an address asks for what this report does not have.
function among(value, choices) {
  return choices.includes(value) ? value : choices[0];
}

function meansOf(dataset, metric, k, partners = ALL_PARTNERS) {
  const found = report.means.find(
    (m) => m.dataset === dataset && m.metric === metric && m.k === k && m.partners === partners,
  );
  return found ? found.values : {};
}

function valuesOf(capability) {
  return new Map(report.values.filter((v) => v.capability === capability && v.value !== null).map((v) => [v.model, v]));
}

// Four decimals as in the tables; nothing for what is missing.
function shown(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(4) : String(value);
}

function intervalName() {
  return `${Math.round(100 * report.config.inference.level)} % interval`;
}

function interval(low, high) {
  return low === null || high === null ? "" : `${shown(low)}\u00a0to\u00a0${shown(high)}`;
}

// Rank correlation of what is measured on both sides, equal values share the mean of their ranks.
function spearman(a, b) {
  const ranks = (values) => {
    const order = values.map((v, i) => i).sort((i, j) => values[i] - values[j]);
    const found = new Array(values.length);
    for (let i = 0; i < order.length; ) {
      let end = i;
      while (end < order.length && values[order[end]] === values[order[i]]) end += 1;
      for (let j = i; j < end; j += 1) found[order[j]] = (i + end - 1) / 2;
      i = end;
    }
    return found;
  };
  const [x, y] = [ranks(a), ranks(b)];
  const mean = (a.length - 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) ** 2;
    yy += (y[i] - mean) ** 2;
  }
  return xx && yy ? xy / Math.sqrt(xx * yy) : null;
}
