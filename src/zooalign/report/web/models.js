// Models: a list, and a page of each with its row, capabilities, nearest models and provenance.
function modelsPage(main) {
  main.append(h("h1", {}, "Models"), h("p", { class: "soft" }, MARKS));
  const { metric, k, label } = report.headline;
  for (const modality of ["vision", "language"]) {
    const own = models.filter((m) => m.modality === modality);
    if (!own.length) continue;
    const capabilities = report.capabilities.filter((c) => own.some((m) => valuesOf(c.id).has(m.id)));
    const values = capabilities.map((c) => valuesOf(c.id));
    const means = report.datasets.map((d) => meansOf(d.id, metric, k));
    main.append(h("h2", {}, `${modality[0].toUpperCase()}${modality.slice(1)} models`), table(`${modality} models`,
      ["model", "family", "objective", "parameters", ...capabilities.map((c) => `${c.id} (${c.unit})`), ...report.datasets.map((d) => `${label}, ${d.id}`)],
      own.map((m) => [modelLink(m), m.family, m.objective, `${(m.parameters / 1e6).toFixed(1)} M`,
        ...values.map((v) => v.get(m.id)?.value ?? null), ...means.map((v) => v[m.id] ?? null)])));
  }
}

function modelPage(main, query) {
  const model = modelById.get(query.get("id"));
  if (!model) return notFound(main, `There is no model ${query.get("id")}.`);
  main.append(h("h1", {}, named(model)), h("p", { class: "soft" }, `${model.modality}, ${model.family}, ${model.objective}`));
  for (const dataset of report.datasets) nearest(main, model, dataset.id);
  const own = report.values.filter((v) => v.model === model.id);
  main.append(h("h2", {}, "Capabilities"), own.length
    ? table("Capabilities", ["capability", "value", "standard error", "n", "source"], own.map((v) => [v.capability, v.reason ? `none: ${v.reason}` : v.value, v.standard_error, v.n, v.source]))
    : h("p", {}, "No capability of this model was measured."));
  main.append(h("h2", {}, "Its row in the zoo"), list(Object.entries(model.row).map(([key, value]) => [key, typeof value === "object" ? JSON.stringify(value) : String(value)])));
  const made = report.provenance.filter((one) => one.model && [model.id, model.row.variant_of].includes(one.model));
  main.append(h("h2", {}, "What made its artefacts"), table("Provenance", ["rule", "of", "seconds", "MB", "time", "versions", "digest or SHA-256"],
    made.map((one) => [one.rule, one.dataset ?? one.capability ?? "", one.seconds, one.n_bytes ? `${(one.n_bytes / 1e6).toFixed(1)}` : "", one.time, one.versions, (one.digest ?? one.sha256 ?? "").slice(0, 16)])));
}

function nearest(main, model, dataset) {
  const { metric, k, label } = report.headline;
  const near = [];
  for (const scores of scoresOf(dataset, metric, k)) {
    scores.score.forEach((score, i) => {
      if (score === null || (scores.x[i] !== model.place && scores.y[i] !== model.place)) return;
      near.push({ other: models[scores.x[i] === model.place ? scores.y[i] : scores.x[i]], score, low: of(scores, "low", i), high: of(scores, "high", i), calibrated: of(scores, "calibrated", i) });
    });
  }
  near.sort((a, b) => b.score - a.score);
  main.append(h("h2", {}, `Nearest models on ${dataset} (${label})`));
  const columns = h("div", { class: "columns" });
  for (const modality of ["vision", "language"]) {
    const own = near.filter((one) => one.other.modality === modality).slice(0, 10);
    if (own.length) {
      columns.append(h("div", {}, h("h3", {}, `${modality} models`), table(`Nearest ${modality} models`, ["model", "score", "interval", "calibrated"],
        own.map((one) => [pairLink(dataset, model, one.other, named(one.other)), one.score, interval(one.low, one.high), one.calibrated]))));
    }
  }
  main.append(near.length ? columns : h("p", {}, "It has no scores on this dataset."));
}
