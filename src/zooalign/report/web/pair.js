// Pair: all metrics, the map of all layer pairs, and the samples where two models agree and disagree most.
async function pairPage(main, query) {
  const dataset = among(query.get("dataset"), report.datasets.map((d) => d.id));
  const [first, second] = [query.get("x"), query.get("y")].map((id) => modelById.get(id));
  if (!first || !second) {
    main.append(h("h1", {}, "A pair of models"), pairFinder(dataset));
    return;
  }
  main.append(h("h1", {}, `${named(first)} and ${named(second)}`), pairFinder(dataset, first.id, second.id),
    h("p", {}, "Their pages: ", modelLink(first), ", ", modelLink(second), `. Dataset: ${dataset}.`));
  const all = scoresOf(dataset).filter((s) => placeOf(s, first.place, second.place) >= 0);
  if (!all.length) {
    main.append(h("p", {}, `There is no score of the two on ${dataset}.`));
    return;
  }
  main.append(h("h2", {}, "Scores"), table("Scores of the pair under every metric",
    ["metric", "score", intervalName(), "calibrated", "p", "q", "chance", "layers", "tied neighbours"],
    all.map((s) => {
      const at = placeOf(s, first.place, second.place);
      const [low, high, calibrated, p, q] = ["low", "high", "calibrated", "p", "q"].map((name) => of(s, name, at));
      const [tiedX, tiedY] = [of(s, "tied_x", at), of(s, "tied_y", at)];
      const tied = tiedX === null ? "" : `${(100 * tiedX).toFixed(1)} %, ${(100 * tiedY).toFixed(1)} %`;
      return [s.label, s.score[at], interval(low, high), calibrated, p, q, s.chance, layerNames(s, at).join(", "), tied];
    })), h("p", { class: "soft" }, `Layers are named in the order ${models[all[0].x[placeOf(all[0], first.place, second.place)]].id}, ${models[all[0].y[placeOf(all[0], first.place, second.place)]].id}.`));
  await layerMap(main, dataset, first, second);
  await pairSamples(main, dataset, first, second);
}

async function mapOf(dataset, first, second) {
  const maps = await block(`maps-${dataset}`);
  if (!maps.read) {
    maps.read = bytes(maps.values);
    let start = 0;
    maps.starts = maps.pairs.map(([, , a, b]) => {
      const own = start;
      start += a * b;
      return own;
    });
  }
  const values = await maps.read;
  const i = maps.pairs.findIndex(([x, y]) => (x === first && y === second) || (x === second && y === first));
  if (i < 0) return null;
  const [x, y, rows, columns, low, high] = maps.pairs[i];
  const z = Array.from({ length: rows }, (_, r) => Array.from({ length: columns }, (_, c) => {
    const whole = values[maps.starts[i] + r * columns + c];
    return whole === 255 ? null : low + ((high - low) * whole) / 254;
  }));
  const names = (place, n) => maps.layers[models[place].id] ?? Array.from({ length: n }, (_, l) => `layer ${l}`);
  return { z, x, y, rows: names(x, rows), columns: names(y, columns) };
}

async function layerMap(main, dataset, first, second) {
  const { label } = report.headline;
  const found = await mapOf(dataset, first.place, second.place);
  main.append(h("h2", {}, `Every layer with every layer (${label})`));
  if (!found) {
    main.append(h("p", {}, "There is no map: the headline metric was not computed for this pair, or the maps of other pairs take all the room of this file."));
    return;
  }
  const { z, rows, columns } = found;
  const [x, y] = [models[found.x], models[found.y]];
  const { figure, draw } = chart(`Layer map of ${x.id} and ${y.id}`, `Layers of ${x.id} upwards, of ${y.id} to the right; the frame marks the highest, which is the score of the pair.`, `layers_${x.id}_${y.id}`);
  main.append(figure);
  draw([{
    type: "heatmap", z, colorscale: "Viridis", hoverinfo: "text", colorbar: { thickness: 12 },
    text: z.map((line, r) => line.map((value, c) => plain(`${rows[r]}, ${columns[c]}: ${shown(value)}`))),
  }], {
    height: Math.max(280, 14 * rows.length + 120),
    xaxis: layerAxis(y, columns), yaxis: layerAxis(x, rows), shapes: [frame(z)],
  }, { headings: [`layer of ${x.id}`, ...columns], rows: z.map((line, r) => [rows[r], ...line]) });
}

function layerAxis(model, names) {
  return { title: { text: plain(`layer of ${model.id}`) }, showgrid: false, zeroline: false, dtick: Math.ceil(names.length / 16), tick0: 0 };
}

// A frame around the best layer pair.
function frame(z) {
  const values = z.flat().map((value) => value ?? -Infinity);
  const at = values.indexOf(Math.max(...values));
  const [row, column] = [Math.floor(at / z[0].length), at % z[0].length];
  return { type: "rect", x0: column - 0.5, x1: column + 0.5, y0: row - 0.5, y1: row + 0.5, line: { color: PALETTE[1], width: 2 } };
}

async function pairSamples(main, dataset, first, second) {
  main.append(h("h2", {}, "Samples where the two agree and disagree"));
  const name = `samples-${dataset}`;
  const samples = isIn(name) ? await block(name) : null;
  const found = samples && (samples.pairs[`${first.place}|${second.place}`] ?? samples.pairs[`${second.place}|${first.place}`]);
  if (!found) {
    main.append(h("p", {}, "The headline metric is no mean over samples, or the dataset is not in the results folder."));
    return;
  }
  const { metric, k } = report.headline;
  const said = (term) => (metric === "mutual_knn" ? `${Math.round(term * k)} of ${k} neighbours in common` : `adds ${shown(term)}`);
  const of = (places, terms) => h("ul", { class: "samples" }, places.map((i, at) => h("li", {}, picture(samples, i),
    h("div", {}, samples.texts[i] ?? ""), h("div", { class: "soft" }, samples.ids[i]), h("div", { class: "soft" }, said(terms[at])))));
  main.append(h("h3", {}, "They agree most"), of(found.most, found.most_terms),
    h("h3", {}, "They disagree most"), of(found.least, found.least_terms),
    h("p", { class: "soft" }, `At the best layers of the pair. ${found.lowest} samples have the lowest value; the first of them are shown.`));
}

function picture(samples, i) {
  const stored = samples.pictures[i];
  if (!stored) return h("span", { class: "none" }, "no picture");
  return h("img", { src: `data:image/webp;base64,${stored}`, alt: samples.texts[i] ? `picture: ${samples.texts[i]}` : `sample ${samples.ids[i]}`, loading: "lazy" });
}
